"""Keeps is_active and status of users alike while both are there.

The version before writes is_active only, the next one status only: each gets what the other wrote.
"""

from __future__ import annotations

from alembic import op

FUNCTION = """
CREATE OR REPLACE FUNCTION users_status() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status IS NULL OR (TG_OP = 'UPDATE' AND NEW.is_active IS DISTINCT FROM OLD.is_active) THEN
        NEW.status := CASE WHEN NEW.is_active THEN 'active' ELSE 'disabled' END;
    ELSE
        NEW.is_active := NEW.status = 'active';
    END IF;
    RETURN NEW;
END
$$
"""
TRIGGER = """
CREATE OR REPLACE TRIGGER users_status BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION users_status()
"""
CHECK = """
ADD CONSTRAINT users_status_known CHECK (status IS NOT NULL AND status IN ('active', 'disabled')) NOT VALID
"""


def begin() -> None:
    """From now on."""
    op.execute(FUNCTION)
    op.execute(TRIGGER)


def end() -> None:
    """Before one of the columns goes."""
    op.execute("DROP TRIGGER users_status ON users")
    op.execute("DROP FUNCTION users_status()")

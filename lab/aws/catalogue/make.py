"""Write what a real server says of its settings to a file of this directory.

python -m lab.aws.catalogue.make | psql -XAtq postgres > lab/aws/catalogue/pg_settings-15.json
"""

from __future__ import annotations

# One setting a line, so that the difference between two servers can be read. What a cluster adds (data_directory, the
# locale, a value from its file) stays out: only what belongs to the version is kept.
QUERY = r"""
SELECT E'[\n' || string_agg(json_strip_nulls(json_build_object(
    'name', name, 'vartype', vartype, 'unit', unit, 'min', min_val, 'max', max_val, 'enumvals', enumvals,
    'context', context, 'category', category, 'boot', boot_val, 'short_desc', short_desc
))::text, E',\n' ORDER BY lower(name)) || E'\n]' FROM pg_settings WHERE name NOT LIKE '%.%';
"""

if __name__ == "__main__":
    print(QUERY)

"""Values of every setting of real PostgreSQL servers, and the mistakes that people make with their units."""

from __future__ import annotations

import math

import pytest
from ansible_collections.techcorp.rag_admin.plugins.module_utils.postgresql import units
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.aws import catalogue

CATALOGUES = {version: catalogue.pg_settings(version) for version in (15, 17)}
SETTINGS = [(version, name) for version, known in CATALOGUES.items() for name in sorted(known)]
LARGEST = 2**31 - 1


@st.composite
def cases(draw):
    """A setting of a server, and a value that a person may give it."""
    version, name = draw(st.sampled_from(SETTINGS))
    setting = CATALOGUES[version][name]
    return setting, draw(values(setting))


def values(setting):
    kind, unit = setting["vartype"], setting["unit"]
    if kind == "bool":
        return st.sampled_from([True, False, "on", "off", "yes", "no", "true", "false", "1", "0", 1, 0, "ON"])
    if kind == "enum":
        return st.sampled_from(setting["enumvals"]) | st.sampled_from(setting["enumvals"]).map(str.upper)
    if kind == "string":
        return st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=20)
    low, high = float(setting["min_val"]), float(setting["max_val"])
    if unit is None and kind == "integer":
        numbers = st.integers(int(low), int(high))
        return numbers | numbers.map(str)
    if unit is None:
        return st.floats(low, high) | st.floats(low, high).map(str)
    bare = [each for each in (0, "0", -1, "-1") if low <= int(each) <= high]
    return st.one_of(*map(st.just, bare), with_unit(unit, max(low, 0), high))


@st.composite
def with_unit(draw, unit, low, high):
    """A text such as ``12.5 MB`` that is within the setting's range."""
    count, base, sizes = units._base(unit)
    size = draw(st.sampled_from(list(sizes)))
    scale = count * sizes[base] / sizes[size]
    # Less than one unit may become 0, which is refused.
    lowest, highest = max(low, 1) * scale, min(high, LARGEST) * scale
    if draw(st.booleans()) and math.ceil(lowest) <= highest:
        number = draw(st.integers(math.ceil(lowest), int(highest)))
    else:
        # Rounding to the next smaller unit may add half of it.
        number = repr(draw(st.floats(lowest, max(lowest, highest * 0.95))))
    return f"{number}{draw(st.sampled_from(['', ' ']))}{size}"


def check(case):
    setting, value = case
    kind, unit = setting["vartype"], setting["unit"]
    canonical = units.quantity(value, kind, unit)
    on_host = units.quantity(units.render_host(canonical, unit), kind, unit)
    on_rds = units.render_rds(canonical, unit)
    if kind == "bool":
        assert on_host is (on_rds == "1")
    elif kind in ("enum", "string"):
        assert on_host == on_rds == canonical
    elif kind == "integer":
        assert on_host == int(on_rds) == canonical
    else:
        assert on_host == float(on_rds) == canonical
    assert type(on_host) is type(canonical)


@settings(max_examples=500, deadline=None)
@given(cases())
def test_host_and_rds_come_to_the_same_number(case):
    check(case)


@pytest.mark.long
@settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_host_and_rds_come_to_the_same_number_at_length(case):
    check(case)


@pytest.mark.parametrize("version", CATALOGUES)
def test_every_unit_of_the_server_is_known(version):
    for unit in {setting["unit"] for setting in CATALOGUES[version].values()} - {None}:
        assert units.quantity(units.render_host(5, unit), "integer", unit) == 5


@pytest.mark.parametrize(
    ("value", "kind", "unit", "canonical", "host", "rds"),
    [
        ("256MB", "integer", "8kB", 32768, "256MB", "32768"),
        ("16 GB", "integer", "8kB", 2097152, "16GB", "2097152"),
        ("1.5GB", "integer", "kB", 1572864, "1536MB", "1572864"),
        ("30.1GB", "integer", "kB", 31561728, "30822MB", "31561728"),
        ("1GB", "integer", "MB", 1024, "1GB", "1024"),
        ("1024B", "integer", "B", 1024, "1kB", "1024"),
        ("12kB", "integer", "8kB", 2, "16kB", "2"),  # half to even, as rint()
        ("20kB", "integer", "8kB", 2, "16kB", "2"),
        (-1, "integer", "kB", -1, "-1", "-1"),
        ("0", "integer", "ms", 0, "0", "0"),
        ("5min", "integer", "s", 300, "5min", "300"),
        ("90min", "integer", "ms", 5400000, "90min", "5400000"),
        ("1d", "integer", "min", 1440, "1d", "1440"),
        ("2.5ms", "real", "ms", 2.5, "2.5ms", "2.5"),
        ("500us", "real", "ms", 0.5, "0.5ms", "0.5"),
        ("1000.5us", "real", "ms", 1.0, "1ms", "1"),
        (0.9, "real", None, 0.9, "0.9", "0.9"),
        (4, "real", None, 4.0, "4", "4"),
        ("0640", "integer", None, 416, "416", "416"),
        (True, "enum", None, "on", "on", "on"),
        ("TLSv1.2", "enum", None, "TLSv1.2", "TLSv1.2", "TLSv1.2"),
        ("yes", "bool", None, True, "on", "1"),
        (["a", "b"], "string", None, "a, b", "a, b", "a, b"),
        ("", "string", None, "", "", ""),
    ],
)
def test_values_are_read_as_postgresql_reads_them(value, kind, unit, canonical, host, rds):
    assert units.quantity(value, kind, unit) == canonical
    assert (units.render_host(canonical, unit), units.render_rds(canonical, unit)) == (host, rds)


@pytest.mark.parametrize(
    ("value", "kind", "unit", "said"),
    [
        # The unit's name.
        ("10M", "integer", "8kB", "'10M' has the unit 'M', which .* write 'MB'"),
        ("16m", "integer", "kB", "'16m' has the unit 'm', which .* write 'MB'"),
        ("64mb", "integer", "kB", "'64mb' has the unit 'mb', which .* write 'MB'"),
        ("64Mb", "integer", "kB", "the unit 'Mb', which .* write 'MB'"),
        ("4KB", "integer", "kB", "the unit 'KB', which .* write 'kB'"),
        ("4K", "integer", "kB", "the unit 'K', which .* write 'kB'"),
        ("4kb", "integer", "kB", "the unit 'kb', which .* write 'kB'"),
        ("2G", "integer", "8kB", "the unit 'G', which .* write 'GB'"),
        ("2gb", "integer", "8kB", "the unit 'gb', which .* write 'GB'"),
        ("2GiB", "integer", "8kB", "the unit 'GiB', which .* write 'GB'"),
        ("512Mi", "integer", "8kB", "the unit 'Mi', which .* write 'MB'"),
        ("1T", "integer", "MB", "the unit 'T', which .* write 'TB'"),
        ("1PB", "integer", "MB", r"the unit 'PB', which PostgreSQL does not know for memory \(B, kB, MB, GB, TB\)$"),
        ("100 bytes", "integer", "B", "the unit 'bytes', which .* write 'B'"),
        ("5m", "integer", "ms", "the unit 'm', which .* write 'min'"),
        ("5M", "integer", "s", "the unit 'M', which .* write 'min'"),
        ("5sec", "integer", "ms", "the unit 'sec', which .* write 's'"),
        ("5 seconds", "integer", "ms", "the unit 'seconds', which .* write 's'"),
        ("2S", "integer", "ms", "the unit 'S', which .* write 's'"),
        ("100msec", "integer", "ms", "the unit 'msec', which .* write 'ms'"),
        ("1H", "integer", "min", "the unit 'H', which .* write 'h'"),
        ("2 hours", "integer", "min", "the unit 'hours', which .* write 'h'"),
        ("1 day", "integer", "min", "the unit 'day', which .* write 'd'"),
        ("15minutes", "integer", "s", "the unit 'minutes', which .* write 'min'"),
        # None at all: bytes, kilobytes or megabytes taken for the setting's blocks.
        (268435456, "integer", "8kB", "'268435456' has no unit; PostgreSQL would take it for 268435456 times 8kB"),
        ("32768", "integer", "8kB", "'32768' has no unit"),
        (16384, "integer", "kB", "'16384' has no unit"),
        (1024, "integer", "MB", "'1024' has no unit"),
        (5000, "integer", "ms", "'5000' has no unit.* for example 5min"),
        (300, "integer", "s", "'300' has no unit"),
        (90, "integer", "s", "'90' has no unit"),  # what YAML makes of 1:30
        # Of another kind.
        ("5min", "integer", "8kB", "the unit 'min', but the setting is of memory"),
        ("64MB", "integer", "ms", "the unit 'MB', but the setting is of time"),
        ("100MB", "integer", None, "has a unit, but the setting is a plain number"),
        ("0.9s", "real", None, "has a unit, but the setting is a plain number"),
        # What other programs allow.
        ("25%", "integer", "8kB", "'25%' is a share"),
        ("1h30min", "integer", "s", "is not a number with one unit of time"),
        ("1GB 512MB", "integer", "8kB", "is not a number with one unit of memory"),
        ("1_024MB", "integer", "8kB", "is not a number with one unit of memory"),
        ("1,5GB", "integer", "8kB", "is not a number with one unit of memory"),
        ("256MB;", "integer", "8kB", "is not a number with one unit of memory"),
        ("1/4", "integer", "8kB", "is not a number with one unit of memory"),
        ("MB", "integer", "8kB", "'MB' is not a number; write one with a unit such as 256MB"),
        ("{DBInstanceClassMemory/32768}", "integer", "8kB", "is not a number"),
        ("0x10MB", "integer", "8kB", "is not a number with one unit"),
        ("010MB", "integer", "8kB", "which PostgreSQL takes for an octal number"),
        ("-1MB", "integer", "kB", "is negative"),
        # What would become nothing, and with that mean another thing: no limit.
        ("100us", "integer", "ms", "less than the setting's unit ms and would be rounded to 0"),
        ("400kB", "integer", "MB", "less than the setting's unit MB and would be rounded to 0"),
        ("1kB", "integer", "8kB", "less than the setting's unit 8kB and would be rounded to 0"),
        # Too much.
        ("100TB", "integer", "kB", "beyond PostgreSQL's integers"),
        ("30d", "integer", "ms", "beyond PostgreSQL's integers"),
        ("1e999MB", "integer", "8kB", "is too large"),
        # What YAML makes of words.
        (True, "integer", "8kB", "True is not a number"),
        (False, "integer", None, "False is not a number"),
        (None, "integer", "8kB", "leave the setting out"),
        (["64MB"], "integer", "8kB", "is not a number"),
        (True, "string", None, "write it in quotes"),
        ("enabled", "bool", None, "write on or off"),
        (2, "bool", None, "write on or off"),
        ("a\nb = c", "string", None, "more than one line"),
    ],
)
def test_a_mistake_is_refused_by_name(value, kind, unit, said):
    with pytest.raises(units.UnitError, match=said):
        units.quantity(value, kind, unit)


def test_what_the_server_shows_is_compared_as_it_shows_it():
    assert units.reported("0640", "integer") == 416
    assert units.equal(units.reported("0.333333", "real"), 1 / 3)
    assert not units.equal(units.reported("0.3333", "real"), 1 / 3)
    assert not units.equal(1, True)


def test_another_unit_of_rds_is_converted_or_refused():
    assert units.render_rds(32768, "kB", "8kB") == "262144"
    with pytest.raises(units.UnitError, match="8kB is not a multiple of MB, the unit of the RDS parameter"):
        units.render_rds(1, "MB", "8kB")
    with pytest.raises(units.UnitError, match="8kB cannot be converted to ms"):
        units.render_rds(1, "ms", "8kB")


@pytest.mark.parametrize(
    ("value", "formula"),
    [
        ("{DBInstanceClassMemory/32768}", True),
        ("LEAST({DBInstanceClassMemory/9531392},5000)", True),
        (" greatest({DBInstanceClassMemory*1024/63963136},65536)", True),
        ("256MB", False),
        ("pg_stat_statements", False),
        (4, False),
    ],
)
def test_formulas_of_rds_are_recognised(value, formula):
    assert units.is_formula(value) is formula

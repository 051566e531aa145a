"""A state is one flat record: small, and without a byte that means nothing."""

from ppgym.core.state import STATE_DTYPE


def test_a_state_is_small() -> None:
    assert STATE_DTYPE.itemsize <= 2304


def test_a_state_has_no_padding_and_each_field_is_aligned() -> None:
    fields = STATE_DTYPE.fields
    assert fields is not None
    end = 0
    for dtype, offset in sorted(((field[0], field[1]) for field in fields.values()), key=lambda field: field[1]):
        assert offset == end
        assert offset % dtype.base.itemsize == 0
        end = offset + dtype.itemsize
    assert end == STATE_DTYPE.itemsize

"""Arrow into what data scientists hold: pandas and Polars.

Invariant: times keep their nanoseconds; numbers stay exact unless floats are asked for, and then each is
the nearest float of its decimal, as far as 53 bits hold its digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from ._errors import Error

if TYPE_CHECKING:
    import pandas
    import polars

#: What becomes of prices, quantities and measures: `exact` decimals, or `float`.
Decimals = Literal["exact", "float"]


def to_pandas(table: pa.Table, decimals: Decimals) -> pandas.DataFrame:
    """A frame of pandas; times are `datetime64[ns, UTC]`."""
    try:
        import pandas as pd  # noqa: F401
    except ImportError as error:
        raise Error("pandas is not installed: pip install 'tapewatch[pandas]'") from error
    frame: pandas.DataFrame = _chosen(table, decimals).to_pandas()
    return frame


def to_polars(table: pa.Table, decimals: Decimals) -> polars.DataFrame:
    """A frame of Polars; times are `Datetime('ns', 'UTC')`."""
    try:
        import polars as pl
    except ImportError as error:
        raise Error("Polars is not installed: pip install 'tapewatch[polars]'") from error
    frame = pl.from_arrow(_chosen(table, decimals))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _chosen(table: pa.Table, decimals: Decimals) -> pa.Table:
    if decimals == "exact":
        return table
    if decimals != "float":
        raise Error(f'decimals is {decimals!r}: "exact" or "float" is wanted')
    fields = [pa.field(field.name, _float_type(field.type), field.nullable) for field in table.schema]
    schema = pa.schema(fields)
    batches = [
        pa.RecordBatch.from_arrays([_floats(column) for column in batch.columns], schema=schema)
        for batch in table.to_batches()
    ]
    return pa.Table.from_batches(batches, schema)


def _float_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_decimal(kind):
        return pa.float64()
    if isinstance(kind, pa.ListType):
        return pa.list_(kind.value_field.with_type(_float_type(kind.value_type)))
    if isinstance(kind, pa.StructType):
        return pa.struct([field.with_type(_float_type(field.type)) for field in _fields(kind)])
    return kind


def _fields(kind: pa.StructType) -> list[pa.Field[Any]]:
    return [kind.field(at) for at in range(kind.num_fields)]


def _floats(array: pa.Array[Any]) -> pa.Array[Any]:
    kind = array.type
    if isinstance(kind, pa.Decimal128Type):
        return _nearest(array, kind)
    if pa.types.is_decimal(kind):
        return array.cast(pa.float64())
    if isinstance(array, pa.ListArray):
        own = array.buffers()[:2]
        values = _floats(array.values)
        return pa.Array.from_buffers(_float_type(kind), len(array), own, offset=array.offset, children=[values])
    if isinstance(array, pa.StructArray) and isinstance(kind, pa.StructType):
        children = [_floats(array.field(at)) for at in range(kind.num_fields)]
        fields = _fields(_float_type(kind))  # type: ignore[arg-type]
        return pa.StructArray.from_arrays(children, fields=fields, mask=array.is_null())
    return array


def _nearest(array: pa.Array[Any], kind: pa.Decimal128Type[Any, Any]) -> pa.Array[Any]:
    """A whole number divided by a power of ten is the nearest float; Arrow's own cast is not."""
    digits = pa.decimal128(kind.precision, 0)
    whole = pa.Array.from_buffers(digits, len(array), array.buffers(), offset=array.offset)
    try:
        numbers = whole.cast(pa.int64()).cast(pa.float64(), safe=False)
    except pa.ArrowInvalid:
        return array.cast(pa.float64())
    nearest: pa.Array[Any] = pc.divide(numbers, pa.scalar(10.0**kind.scale))
    return nearest

"""Parquet files: written with a checksum a page, opened at a bounded cost.

A stranger's file may promise or unpack to more than memory holds. So it is asked what it holds before it is unpacked,
text is read as a dictionary (each different text once), and what the text would come to is counted first.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from interp.errors import StoreError, quoted

MOST_CELLS = 100_000_000
MOST_BYTES = 2 << 30
# As Arrow names them; other types have one name.
TYPES = {"str": ("string", "large_string"), "float": ("float", "double"), "float64 or none": ("double", "null")}
AGAIN = "Delete it and run the command that made it again; finished units are kept."


def encode(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def decode(content: bytes, path: Path, unlike: Callable[[Any], str] | None = None) -> pd.DataFrame:
    """The rows; unlike(schema) says in words which columns are not as they must be, before anything is unpacked.

    Raises StoreError for what is no parquet file, was damaged, would unpack to too much, or has other columns.
    """
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(io.BytesIO(content), page_checksum_verification=True) as file:
            _refuse_large(file.metadata, path)
            if unlike is not None:
                _refuse_other_columns(unlike(file.schema_arrow), path)
            texts = [field.name for field in file.schema_arrow if str(field.type) in TYPES["str"]]
        with ParquetFile(io.BytesIO(content), page_checksum_verification=True, read_dictionary=texts) as file:
            table = file.read(use_threads=False)
        return _plain(table, path)
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        NotImplementedError,
        MemoryError,
        pyarrow.ArrowException,
    ) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise StoreError(f"'{path}' can't be read ({said}): it was damaged. {AGAIN}") from error


def _refuse_large(metadata: Any, path: Path) -> None:
    cells = metadata.num_rows * metadata.num_columns
    unpacked = sum(max(0, metadata.row_group(k).total_byte_size) for k in range(metadata.num_row_groups))
    if not 0 <= cells <= MOST_CELLS or unpacked > MOST_BYTES:
        raise StoreError(
            f"'{path}' says that it unpacks to {cells:,} numbers in {unpacked:,} bytes, and headscope reads at most "
            f"{MOST_CELLS:,} in {MOST_BYTES:,}: it is none of headscope's tables. Choose another folder."
        )


def _refuse_other_columns(unlike: str, path: Path) -> None:
    if unlike:
        raise StoreError(
            f"{path.name} in '{path.parent}' {unlike}: it was written by another version of headscope or by another "
            "program. Choose another folder with -o."
        )


def other_columns(schema: Any, columns: Mapping[str, str]) -> str:
    """In words: which columns are not of these names, order and types; empty where all are."""
    if schema.names != list(columns):
        return f"has the columns {quoted(schema.names)}, expected {list(columns)}"
    return next((told for field in schema if (told := other_type(field, columns[field.name]))), "")


def other_type(field: Any, dtype: str) -> str:
    """The same for the type of one column."""
    if str(field.type) in TYPES.get(dtype, (_arrow(dtype),)):
        return ""
    return f"holds {str(field.type)[:300]} in the column {quoted(field.name)}, expected {dtype}"


def _arrow(dtype: str) -> str:
    return {"float32": "float", "float64": "double"}.get(dtype, dtype)


def _plain(table: Any, path: Path) -> pd.DataFrame:
    """As pandas holds it, text counted before it is spelt out; what the file says about pandas is not believed."""
    import pyarrow
    import pyarrow.compute as compute

    total = 0
    columns = []
    for field, column in zip(table.schema, table.columns, strict=True):
        if pyarrow.types.is_dictionary(field.type):
            for chunk in column.chunks:
                lengths = compute.binary_length(chunk.dictionary).cast(pyarrow.int64())
                total += compute.sum(lengths.take(chunk.indices)).as_py() or 0
            if total > MOST_BYTES:
                raise StoreError(f"'{path}' holds {total:,} bytes of text, and headscope reads at most {MOST_BYTES:,}")
            column = column.cast(pyarrow.large_string())
        columns.append(column)
    frame: pd.DataFrame = pyarrow.table(columns, names=table.schema.names).to_pandas(use_threads=False)
    return frame

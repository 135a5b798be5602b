//! Rows of results. The server appends values itself (it has them in columns); here are the shapes around them and
//! what a client needs to read them back.

use crate::codec::Reader;
use crate::column::ColumnDef;
use crate::constants::column_flag;
use crate::error::{Result, WireError};
use crate::value::Value;

/// Appends NULL to a text row.
pub fn put_text_null(out: &mut Vec<u8>) {
    out.push(0xFB);
}

/// Begins a binary row of `columns` values: the header byte and an empty NULL bitmap. Returns the bitmap's position.
pub fn begin_binary(out: &mut Vec<u8>, columns: usize) -> usize {
    out.push(0);
    let bitmap = out.len();
    out.resize(bitmap + (columns + 9) / 8, 0);
    bitmap
}

/// Marks column `column` as NULL in the bitmap at `bitmap`; a NULL has no other bytes.
pub fn set_binary_null(out: &mut [u8], bitmap: usize, column: usize) {
    let bit = column + 2;
    out[bitmap + bit / 8] |= 1 << (bit % 8);
}

/// Reads a text row.
pub fn decode_text(payload: &[u8], columns: usize) -> Result<Vec<Value>> {
    let mut reader = Reader::new(payload);
    let mut row = Vec::with_capacity(columns.min(4096));
    for _ in 0..columns {
        row.push(reader.lenenc_bytes_or_null()?.map_or(Value::Null, |bytes| Value::Bytes(bytes.to_vec())));
    }
    if reader.is_empty() { Ok(row) } else { Err(WireError::Malformed("a row has more values than columns")) }
}

/// Reads a binary row.
pub fn decode_binary(payload: &[u8], columns: &[ColumnDef]) -> Result<Vec<Value>> {
    let mut reader = Reader::new(payload);
    if reader.u8()? != 0 {
        return Err(WireError::Malformed("a binary row begins with 0"));
    }
    let bitmap = reader.bytes((columns.len() + 9) / 8)?;
    let mut row = Vec::with_capacity(columns.len());
    for (index, column) in columns.iter().enumerate() {
        let bit = index + 2;
        if bitmap[bit / 8] & 1 << (bit % 8) != 0 {
            row.push(Value::Null);
        } else {
            row.push(Value::decode(&mut reader, column.ty, column.flags & column_flag::UNSIGNED != 0)?);
        }
    }
    if reader.is_empty() { Ok(row) } else { Err(WireError::Malformed("a row has more bytes than its columns")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::put_lenenc_bytes;
    use crate::constants::column_type;

    #[test]
    fn text_rows_round_trip() {
        let mut out = Vec::new();
        put_lenenc_bytes(&mut out, b"1");
        put_text_null(&mut out);
        put_lenenc_bytes(&mut out, b"");
        assert_eq!(decode_text(&out, 3).unwrap(), [Value::from("1"), Value::Null, Value::from("")]);
        assert!(decode_text(&out, 2).is_err());
        assert!(decode_text(&out, 4).is_err());
    }

    #[test]
    fn binary_rows_round_trip_over_bitmap_bytes() {
        let columns = vec![ColumnDef { ty: column_type::LONGLONG, ..ColumnDef::default() }; 15];
        let values: Vec<Value> = (0..15).map(|i| if i % 3 == 0 { Value::Null } else { Value::Int(i) }).collect();
        let mut out = Vec::new();
        let bitmap = begin_binary(&mut out, values.len());
        for (i, value) in values.iter().enumerate() {
            if value.is_null() {
                set_binary_null(&mut out, bitmap, i);
            }
            value.encode(&mut out);
        }
        assert_eq!(decode_binary(&out, &columns).unwrap(), values);
        assert!(decode_binary(&out[..out.len() - 1], &columns).is_err());
    }
}

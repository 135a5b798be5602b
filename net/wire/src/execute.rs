//! COM_STMT_EXECUTE: the parameters of a prepared statement. Types are sent with the first execution only; the server
//! keeps them per statement. A parameter sent by COM_STMT_SEND_LONG_DATA has no bytes here.

use crate::codec::Reader;
use crate::constants::column_type;
use crate::error::{Result, WireError};
use crate::value::Value;

/// Bytes before the parameters: statement id, flags, iteration count.
const HEADER_BYTES: usize = 9;

/// A parameter's column type and whether it is unsigned, as the client bound it.
pub type ParameterType = (u8, bool);

/// The statement an execute packet is for.
pub fn statement_id(body: &[u8]) -> Result<u32> {
    Reader::new(body).u32()
}

/// Reads the parameters of an execute packet (the body after the command byte) for a statement with `count` of them.
/// `types` are those of the execution before, empty if there was none, and are replaced when the packet brings new ones;
/// `long_data[i]` is what COM_STMT_SEND_LONG_DATA collected for parameter i.
pub fn decode_parameters(
    body: &[u8],
    count: usize,
    types: &mut Vec<ParameterType>,
    long_data: &[Option<Vec<u8>>],
) -> Result<Vec<Value>> {
    let mut reader = Reader::new(body);
    reader.bytes(HEADER_BYTES)?;
    if count == 0 {
        return Ok(Vec::new());
    }
    let bitmap = reader.bytes(count.div_ceil(8))?;
    if reader.u8()? != 0 {
        let mut bound = Vec::with_capacity(count);
        for _ in 0..count {
            let column_type = reader.u8()?;
            bound.push((column_type, reader.u8()? & 0x80 != 0));
        }
        *types = bound;
    }
    if types.len() != count {
        return Err(WireError::Malformed("the first execution of a statement must bind its parameter types"));
    }
    let mut values = Vec::with_capacity(count);
    for (index, (column_type, unsigned)) in types.iter().enumerate() {
        let value = if let Some(Some(data)) = long_data.get(index) {
            Value::Bytes(data.clone())
        } else if bitmap[index / 8] & 1 << (index % 8) != 0 {
            Value::Null
        } else {
            Value::decode(&mut reader, *column_type, *unsigned)?
        };
        values.push(value);
    }
    if reader.is_empty() { Ok(values) } else { Err(WireError::Malformed("bytes after the last parameter")) }
}

/// Appends an execute packet's body.
pub fn encode(out: &mut Vec<u8>, statement: u32, values: &[Value]) {
    out.extend_from_slice(&statement.to_le_bytes());
    out.push(0);
    out.extend_from_slice(&1u32.to_le_bytes());
    if values.is_empty() {
        return;
    }
    let bitmap = out.len();
    out.resize(bitmap + values.len().div_ceil(8), 0);
    out.push(1);
    for (index, value) in values.iter().enumerate() {
        let (column_type, unsigned) = value.parameter_type();
        if column_type == column_type::NULL {
            out[bitmap + index / 8] |= 1 << (index % 8);
        }
        out.extend_from_slice(&[column_type, if unsigned { 0x80 } else { 0 }]);
    }
    for value in values {
        value.encode(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_round_trip() {
        let values = vec![Value::Int(5), Value::Null, Value::from("x"), Value::Double(0.5), Value::UInt(9)];
        let mut body = Vec::new();
        encode(&mut body, 3, &values);
        assert_eq!(statement_id(&body).unwrap(), 3);
        let mut types = Vec::new();
        assert_eq!(decode_parameters(&body, 5, &mut types, &[]).unwrap(), values);
        assert_eq!(types.len(), 5);
        assert!(decode_parameters(&body, 4, &mut Vec::new(), &[]).is_err());
    }

    #[test]
    fn recorded_packets_of_real_clients() {
        let header = [1, 0, 0, 0, 0, 1, 0, 0, 0];
        let read = |tail: &[u8], types: &mut Vec<ParameterType>| {
            decode_parameters(&[&header[..], tail].concat(), 1, types, &[])
        };
        let mut types = Vec::new();
        // npm mariadb, execute('select ?', [1])
        assert_eq!(read(&[0, 1, 3, 0, 1, 0, 0, 0], &mut types).unwrap(), [Value::Int(1)]);
        // the same statement again: types are not repeated
        assert_eq!(read(&[0, 0, 9, 0, 0, 0], &mut types).unwrap(), [Value::Int(9)]);
        // mysql-connector-python, 1
        assert_eq!(read(&[0, 1, 1, 0x80, 1], &mut types).unwrap(), [Value::UInt(1)]);
        // nothing bound yet
        assert!(read(&[0, 0, 9, 0, 0, 0], &mut Vec::new()).is_err());
    }

    #[test]
    fn long_data_stands_for_its_parameter() {
        let header = [1, 0, 0, 0, 0, 1, 0, 0, 0];
        let body = [&header[..], &[0, 1, 252, 0, 3, 0, 7, 0, 0, 0]].concat();
        let long = [Some(b"long".to_vec()), None];
        let values = decode_parameters(&body, 2, &mut Vec::new(), &long).unwrap();
        assert_eq!(values, [Value::from("long"), Value::Int(7)]);
    }
}

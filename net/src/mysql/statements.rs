//! Prepared statements of a connection, the protocol's part of them: how many parameters, the types bound first and kept, and
//! parameters that come in pieces (COM_STMT_SEND_LONG_DATA).

use std::collections::HashMap;

use starling_engine::error::EngineError;
use starling_engine::session::Param;
use starling_wire::Value;
use starling_wire::constants::column_type as ty;
use starling_wire::execute::{self, ParameterType};

use crate::mysql::PACKET_BYTES_MAX;

/// Statements a connection may keep (MySQL's default for the whole server).
const STATEMENTS_MAX: usize = 16_382;

/// The prepared statements of one connection.
#[derive(Default)]
pub struct Statements {
    open: HashMap<u32, Statement>,
    long_bytes: usize,
}

#[derive(Default)]
struct Statement {
    parameters: usize,
    types: Vec<ParameterType>,
    long_data: Vec<Option<Vec<u8>>>,
    /// A piece that could not be kept; told at the next execution, as pieces are not answered.
    refused: Option<EngineError>,
}

impl Statements {
    /// Whether one more may be prepared.
    pub fn check_room(&self) -> Result<(), EngineError> {
        if self.open.len() < STATEMENTS_MAX {
            return Ok(());
        }
        let message = format!("Can't create more than {STATEMENTS_MAX} prepared statements; close some");
        Err(EngineError::new(1461, b"42000", message))
    }

    pub fn add(&mut self, id: u32, parameters: usize) {
        self.open.insert(id, Statement { parameters, ..Statement::default() });
    }

    pub fn remove(&mut self, id: u32) -> bool {
        self.forget_long_data(id);
        self.open.remove(&id).is_some()
    }

    pub fn clear(&mut self) {
        self.open.clear();
        self.long_bytes = 0;
    }

    /// COM_STMT_RESET: long data goes, the rest stays.
    pub fn reset(&mut self, id: u32) -> Result<(), EngineError> {
        self.forget_long_data(id);
        self.open.contains_key(&id).then_some(()).ok_or_else(|| unknown(id, "mysqld_stmt_reset"))
    }

    fn forget_long_data(&mut self, id: u32) {
        if let Some(statement) = self.open.get_mut(&id) {
            let freed: usize = statement.long_data.iter().flatten().map(Vec::len).sum();
            self.long_bytes -= freed;
            statement.long_data.clear();
            statement.refused = None;
        }
    }

    /// Keeps one more piece of a parameter. Never answered, so errors wait for the execution.
    pub fn append_long_data(&mut self, id: u32, parameter: u16, piece: &[u8]) {
        let room = PACKET_BYTES_MAX - self.long_bytes;
        let Some(statement) = self.open.get_mut(&id) else { return };
        let parameter = usize::from(parameter);
        if parameter >= statement.parameters {
            statement.refused =
                Some(EngineError::new(1210, b"HY000", "Incorrect arguments to mysqld_stmt_send_long_data"));
            return;
        }
        if piece.len() > room {
            statement.refused = Some(too_large());
            return;
        }
        statement.long_data.resize(statement.parameters, None);
        statement.long_data[parameter].get_or_insert_default().extend_from_slice(piece);
        self.long_bytes += piece.len();
    }

    /// The parameters of an execute packet's body. Long data is used up.
    pub fn parameters(&mut self, id: u32, body: &[u8]) -> Result<Vec<Param>, EngineError> {
        let statement = self.open.get_mut(&id).ok_or_else(|| unknown(id, "mysqld_stmt_execute"))?;
        if let Some(error) = statement.refused.take() {
            self.forget_long_data(id);
            return Err(error);
        }
        let values = execute::decode_parameters(body, statement.parameters, &mut statement.types, &statement.long_data);
        let types = statement.types.clone();
        self.forget_long_data(id);
        let values = values.map_err(|error| malformed(&error))?;
        Ok(values.into_iter().zip(types).map(|(value, (column_type, _))| param(value, column_type)).collect())
    }
}

/// Error 1153.
pub fn too_large() -> EngineError {
    let message = format!("Got a packet bigger than 'max_allowed_packet' bytes ({PACKET_BYTES_MAX})");
    EngineError::new(1153, b"08S01", message)
}

/// Error 1835: a packet that cannot be read.
pub fn malformed(error: &starling_wire::WireError) -> EngineError {
    EngineError::new(1835, b"HY000", format!("Malformed communication packet: {error}"))
}

/// Error 1243.
pub fn unknown(id: u32, command: &str) -> EngineError {
    EngineError::new(1243, b"HY000", format!("Unknown prepared statement handler ({id}) given to {command}"))
}

fn param(value: Value, column_type: u8) -> Param {
    match value {
        Value::Null => Param::Null,
        Value::Int(v) => Param::Int(v),
        Value::UInt(v) => Param::UInt(v),
        Value::Float(v) => Param::Float(v),
        Value::Double(v) => Param::Double(v),
        Value::Bytes(bytes) if column_type == ty::BIT => Param::Bytes(bytes),
        // Drivers send texts as VAR_STRING or as BLOB; what is UTF-8 is text, as there are no binary columns yet.
        Value::Bytes(bytes) => String::from_utf8(bytes).map_or_else(|e| Param::Bytes(e.into_bytes()), Param::Text),
        Value::Date { year, month, day } => Param::Date { year, month, day },
        Value::DateTime { year, month, day, hour, minute, second, micros } => {
            Param::DateTime { year, month, day, hour, minute, second, micros }
        }
        Value::Time { negative, hours, minute, second, micros } => Param::Time {
            negative,
            days: hours / 24,
            hours: (hours % 24) as u8,
            minutes: minute,
            seconds: second,
            micros,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(values: &[Value]) -> Vec<u8> {
        let mut body = Vec::new();
        execute::encode(&mut body, 1, values);
        body
    }

    #[test]
    fn types_are_remembered_and_unknown_statements_refused() {
        let mut statements = Statements::default();
        statements.add(1, 1);
        assert_eq!(statements.parameters(1, &body(&[Value::Int(5)])).unwrap(), [Param::Int(5)]);
        let rebound = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(statements.parameters(1, &rebound).unwrap(), [Param::Int(9)]);
        assert_eq!(statements.parameters(2, &rebound).unwrap_err().code, 1243);
        assert_eq!(statements.parameters(1, &rebound[..12]).unwrap_err().code, 1835);
        assert!(statements.remove(1) && !statements.remove(1));
    }

    #[test]
    fn long_data_is_bounded_and_used_once() {
        let mut statements = Statements::default();
        statements.add(1, 1);
        statements.append_long_data(1, 0, b"ab");
        statements.append_long_data(1, 0, b"c");
        let long = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 252, 0];
        assert_eq!(statements.parameters(1, &long).unwrap(), [Param::Text("abc".into())]);
        assert_eq!(statements.long_bytes, 0);
        statements.append_long_data(1, 7, b"x");
        assert_eq!(statements.parameters(1, &long).unwrap_err().code, 1210);
        let piece = vec![0; PACKET_BYTES_MAX];
        statements.append_long_data(1, 0, &piece);
        statements.append_long_data(1, 0, b"x");
        assert_eq!(statements.parameters(1, &long).unwrap_err().code, 1153);
        assert_eq!(statements.long_bytes, 0);
    }

    #[test]
    fn bytes_that_are_no_text_stay_bytes() {
        assert_eq!(param(Value::Bytes(vec![0xFF]), ty::VAR_STRING), Param::Bytes(vec![0xFF]));
        assert_eq!(param(Value::from("x"), ty::BLOB), Param::Text("x".into()));
    }
}

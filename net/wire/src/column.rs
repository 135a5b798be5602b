//! Column definitions (protocol 4.1).

use crate::codec::{Reader, lossy, put_lenenc_bytes, put_lenenc_int};
use crate::constants::{collation, column_flag, column_type};
use crate::error::{Result, WireError};

/// What a client learns of one column of a result.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ColumnDef {
    pub schema: String,
    pub table: String,
    pub org_table: String,
    pub name: String,
    pub org_name: String,
    pub collation: u16,
    /// Display length in bytes.
    pub length: u32,
    pub ty: u8,
    pub flags: u16,
    pub decimals: u8,
}

/// A definition whose texts belong to somebody else: a server describes columns with every result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ColumnRef<'a> {
    pub schema: &'a str,
    pub table: &'a str,
    pub org_table: &'a str,
    pub name: &'a str,
    pub org_name: &'a str,
    pub collation: u16,
    pub length: u32,
    pub ty: u8,
    pub flags: u16,
    pub decimals: u8,
}

impl ColumnRef<'_> {
    /// The generic definition of a statement's parameter.
    pub fn parameter() -> Self {
        Self {
            name: "?",
            collation: u16::from(collation::BINARY),
            ty: column_type::VAR_STRING,
            flags: column_flag::BINARY,
            ..Self::default()
        }
    }

    /// Appends the definition as results and prepared statements carry it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_lenenc_bytes(out, b"def");
        for text in [self.schema, self.table, self.org_table, self.name, self.org_name] {
            put_lenenc_bytes(out, text.as_bytes());
        }
        put_lenenc_int(out, 0x0C);
        out.extend_from_slice(&self.collation.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out.push(self.ty);
        out.extend_from_slice(&self.flags.to_le_bytes());
        out.push(self.decimals);
        out.extend_from_slice(&[0, 0]);
    }

    /// Appends the definition as COM_FIELD_LIST carries it: with a default value, here NULL, at its end.
    pub fn encode_with_default(&self, out: &mut Vec<u8>) {
        self.encode(out);
        out.push(0xFB);
    }
}

impl ColumnDef {
    /// The same, borrowed.
    pub fn as_ref(&self) -> ColumnRef<'_> {
        let Self { schema, table, org_table, name, org_name, collation, length, ty, flags, decimals } = self;
        let (collation, length, ty, flags, decimals) = (*collation, *length, *ty, *flags, *decimals);
        ColumnRef { schema, table, org_table, name, org_name, collation, length, ty, flags, decimals }
    }

    /// Reads a definition; a default value at its end is ignored.
    pub fn decode(payload: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(payload);
        reader.lenenc_bytes()?;
        let mut text = || reader.lenenc_bytes().map(lossy);
        let (schema, table, org_table, name, org_name) = (text()?, text()?, text()?, text()?, text()?);
        if reader.lenenc_int()? < 0x0C {
            return Err(WireError::Malformed("a column definition's fixed part is too short"));
        }
        Ok(Self {
            schema,
            table,
            org_table,
            name,
            org_name,
            collation: reader.u16()?,
            length: reader.u32()?,
            ty: reader.u8()?,
            flags: reader.u16()?,
            decimals: reader.u8()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_round_trip() {
        let column = ColumnDef {
            schema: "shop".into(),
            table: "o".into(),
            org_table: "orders".into(),
            name: "amount".into(),
            org_name: "amount".into(),
            collation: 63,
            length: 12,
            ty: column_type::NEWDECIMAL,
            flags: column_flag::NOT_NULL | column_flag::NUM,
            decimals: 2,
        };
        for with_default in [false, true] {
            let mut out = Vec::new();
            if with_default {
                column.as_ref().encode_with_default(&mut out)
            } else {
                column.as_ref().encode(&mut out)
            }
            assert_eq!(ColumnDef::decode(&out).unwrap(), column);
        }
    }
}

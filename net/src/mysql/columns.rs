//! Result columns as the protocol defines them (StarRocks 12.1; display lengths as drivers expect them).

use starling_engine::session::{ColumnMeta, SqlType};
use starling_wire::column::ColumnRef;
use starling_wire::constants::{collation, column_flag, column_type};

/// Bytes of a character at most, by which drivers divide the display length of texts.
const CHARACTER_BYTES_MAX: u32 = 4;

/// The definition of one column.
pub fn definition(column: &ColumnMeta) -> ColumnRef<'_> {
    let (ty, length, decimals) = shape(column.ty);
    let is_text = is_text(column.ty);
    let mut flags = if column.nullable { 0 } else { column_flag::NOT_NULL };
    if !is_text {
        flags |= column_flag::BINARY;
    }
    if is_number(column.ty) {
        flags |= column_flag::NUM;
    }
    ColumnRef {
        schema: &column.db,
        table: &column.table,
        org_table: &column.org_table,
        name: &column.name,
        org_name: &column.org_name,
        collation: u16::from(if is_text { collation::UTF8MB4_GENERAL_CI } else { collation::BINARY }),
        length,
        ty,
        flags,
        decimals,
    }
}

/// Column type, display length in bytes, decimals.
fn shape(ty: SqlType) -> (u8, u32, u8) {
    /// "Not fixed", as MySQL says of floating point.
    const FLOATING: u8 = 31;
    match ty {
        SqlType::Null => (column_type::NULL, 0, 0),
        SqlType::Boolean => (column_type::TINY, 1, 0),
        SqlType::TinyInt => (column_type::TINY, 4, 0),
        SqlType::SmallInt => (column_type::SHORT, 6, 0),
        SqlType::Int => (column_type::LONG, 11, 0),
        SqlType::BigInt => (column_type::LONGLONG, 20, 0),
        SqlType::LargeInt => (column_type::STRING, 40 * CHARACTER_BYTES_MAX, 0),
        SqlType::Float => (column_type::FLOAT, 12, FLOATING),
        SqlType::Double => (column_type::DOUBLE, 22, FLOATING),
        SqlType::Decimal { precision, scale } => {
            let sign_and_point = if scale > 0 { 2 } else { 1 };
            (column_type::NEWDECIMAL, u32::from(precision) + sign_and_point, scale.max(0) as u8)
        }
        SqlType::Date => (column_type::DATE, 10, 0),
        SqlType::DateTime => (column_type::DATETIME, 26, 6),
        SqlType::Time => (column_type::TIME, 17, 6),
        SqlType::Char(bytes) => (column_type::STRING, bytes.saturating_mul(CHARACTER_BYTES_MAX), 0),
        SqlType::Varchar(bytes) => (column_type::VAR_STRING, bytes.saturating_mul(CHARACTER_BYTES_MAX), 0),
        SqlType::Binary => (column_type::BLOB, u32::from(u16::MAX), 0),
    }
}

fn is_text(ty: SqlType) -> bool {
    matches!(ty, SqlType::Char(_) | SqlType::Varchar(_) | SqlType::LargeInt)
}

fn is_number(ty: SqlType) -> bool {
    use SqlType::{BigInt, Boolean, Decimal, Double, Float, Int, SmallInt, TinyInt};
    matches!(ty, Boolean | TinyInt | SmallInt | Int | BigInt | Float | Double | Decimal { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn define(ty: SqlType, nullable: bool) -> ColumnRef<'static> {
        let column = Box::leak(Box::new(ColumnMeta::of_expression("c", ty, nullable)));
        definition(column)
    }

    #[test]
    fn types_and_lengths_are_what_drivers_expect() {
        let decimal = define(SqlType::Decimal { precision: 10, scale: 2 }, false);
        assert_eq!((decimal.ty, decimal.length, decimal.decimals), (column_type::NEWDECIMAL, 12, 2));
        assert_eq!(decimal.flags & column_flag::NOT_NULL, column_flag::NOT_NULL);
        assert_eq!(define(SqlType::Decimal { precision: 38, scale: 0 }, true).length, 39);
        assert_eq!(define(SqlType::Boolean, true).length, 1);
        let text = define(SqlType::Varchar(50), true);
        assert_eq!((text.ty, text.length, text.collation), (column_type::VAR_STRING, 200, 45));
        assert_eq!(define(SqlType::LargeInt, true).ty, column_type::STRING);
        assert_eq!(define(SqlType::Date, true).collation, 63);
        assert_eq!(define(SqlType::Varchar(u32::MAX), true).length, u32::MAX);
    }
}

//! The schema of the golden row data. In a file of its own because tests within the crate and beside it read that data.

use starling_storage::schema::{Column, ColumnType, TableKind, TabletSchema};

/// One nullable column of every kind but CHAR.
pub fn row_schema() -> TabletSchema {
    let fixed =
        ColumnType::SAMPLES.into_iter().filter(|ty| !matches!(ty, ColumnType::Char(_) | ColumnType::Varchar(_)));
    let types = fixed.chain([ColumnType::Varchar(20)]);
    let column = |(id, ty): (u32, ColumnType)| Column {
        id,
        name: format!("c{id}"),
        ty,
        nullable: true,
        default: None,
        comment: String::new(),
    };
    TabletSchema {
        version: 1,
        kind: TableKind::PrimaryKey,
        columns: (0..).zip(types).map(column).collect(),
        key_columns: 0,
        sort_columns: vec![],
        bucket_columns: vec![],
    }
}

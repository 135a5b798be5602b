use super::*;
use starling_storage::schema::{Column, ColumnType, TableKind, TabletSchema};

fn new_table(name: &str, buckets: u32, group: Option<&str>) -> NewTable {
    let column = |id, name: &str| Column {
        id,
        name: name.into(),
        ty: ColumnType::BigInt,
        nullable: id > 0,
        default: None,
        comment: String::new(),
    };
    let schema = TabletSchema {
        version: 1,
        kind: TableKind::PrimaryKey,
        columns: vec![column(0, "k"), column(1, "v")],
        key_columns: 1,
        sort_columns: vec![0],
        bucket_columns: vec![0],
    };
    let colocate_group = group.map(str::to_string);
    NewTable {
        name: name.into(),
        schema,
        buckets: Some(buckets),
        colocate_group,
        properties: Vec::new(),
        comment: String::new(),
    }
}

fn run(catalog: &Catalog, seq: u64, op: CatalogOp) -> Catalog {
    let edit = catalog.resolve(&op, 3, 0).unwrap().unwrap();
    let back = CatalogEdit::from_bytes(&edit.to_bytes()).unwrap();
    assert_eq!(back, edit);
    catalog.apply(Seq(seq), &back)
}

fn create(catalog: &Catalog, seq: u64, table: NewTable) -> Catalog {
    run(catalog, seq, CatalogOp::CreateTable { db: "d".into(), table, if_not_exists: false })
}

fn with_database() -> Catalog {
    run(&Catalog::empty(), 1, CatalogOp::CreateDatabase { name: "d".into(), if_not_exists: false })
}

#[test]
fn truncate_and_drop_never_reuse_ids() {
    let catalog = create(&with_database(), 2, new_table("t", 4, None));
    let before = catalog.table("d", "t").unwrap().tablets.clone();
    let truncated = run(&catalog, 3, CatalogOp::TruncateTable { db: "d".into(), name: "t".into() });
    let after = truncated.table("d", "t").unwrap().tablets.clone();
    assert!(before.iter().all(|t| !after.contains(t) && truncated.tablet(*t).is_none()));
    let op = CatalogOp::DropTable { db: "d".into(), name: "t".into(), if_exists: false };
    let dropped = run(&truncated, 4, op);
    assert!(dropped.table("d", "t").is_err());
    let again = create(&dropped, 5, new_table("t", 4, None));
    assert!(again.table("d", "t").unwrap().tablets.iter().all(|t| !after.contains(t) && !before.contains(t)));
}

#[test]
fn durable_form_round_trips_and_refuses_damage() {
    let catalog = create(&with_database(), 2, new_table("t", 4, Some("g")));
    let bytes = catalog.to_bytes();
    let back = Catalog::from_bytes(&bytes).unwrap();
    assert_eq!(back.version(), Seq(2));
    assert_eq!(back.table("d", "t").unwrap(), catalog.table("d", "t").unwrap());
    assert_eq!(back.next_id, catalog.next_id);
    assert!(Catalog::from_bytes(&bytes[..bytes.len() / 2]).is_err());
}

#[test]
fn colocated_buckets_share_cores_and_must_agree() {
    let catalog = create(&with_database(), 2, new_table("a", 6, Some("g")));
    let catalog = create(&catalog, 3, new_table("b", 6, Some("g")));
    let (a, b) = (catalog.table("d", "a").unwrap(), catalog.table("d", "b").unwrap());
    for cores in 1..5 {
        assert!(
            (0..6).all(|bucket| a.owner(bucket, cores) == b.owner(bucket, cores) && a.owner(bucket, cores).0 < cores)
        );
    }
    let op = CatalogOp::CreateTable { db: "d".into(), table: new_table("c", 5, Some("g")), if_not_exists: false };
    assert_eq!(catalog.resolve(&op, 3, 0).unwrap_err().code, 5063);
}

#[test]
fn errors_and_if_exists() {
    let catalog = create(&with_database(), 2, new_table("t", 1, None));
    let code = |op: CatalogOp| catalog.resolve(&op, 2, 0).unwrap_err().code;
    assert_eq!(code(CatalogOp::CreateDatabase { name: "d".into(), if_not_exists: false }), 1007);
    assert_eq!(code(CatalogOp::DropDatabase { name: "x".into(), if_exists: false }), 5501);
    assert_eq!(code(CatalogOp::DropTable { db: "d".into(), name: "x".into(), if_exists: false }), 5502);
    let again = CatalogOp::CreateTable { db: "d".into(), table: new_table("t", 1, None), if_not_exists: false };
    assert_eq!(code(again), 1050);
    let nothing = CatalogOp::DropTable { db: "d".into(), name: "x".into(), if_exists: true };
    assert!(catalog.resolve(&nothing, 2, 0).unwrap().is_none());
    let dropped = run(&catalog, 3, CatalogOp::DropDatabase { name: "d".into(), if_exists: false });
    assert_eq!((dropped.all_tables().count(), dropped.tablet_ids().count()), (0, 0));
}

/// A table with every column type and default, so that the golden file shows a change of any of them.
fn everything() -> NewTable {
    use starling_storage::schema::DefaultValue::{CurrentTimestamp, Literal, Null};
    let decimal = ColumnType::Decimal { precision: 10, scale: 2 };
    let types = [
        (ColumnType::BigInt, None),
        (ColumnType::Boolean, Some(Null)),
        (ColumnType::TinyInt, Some(Literal("7".into()))),
        (ColumnType::SmallInt, None),
        (ColumnType::Int, None),
        (ColumnType::LargeInt, None),
        (ColumnType::Float, None),
        (ColumnType::Double, None),
        (decimal, None),
        (ColumnType::Date, None),
        (ColumnType::DateTime, Some(CurrentTimestamp(6))),
        (ColumnType::Char(5), None),
        (ColumnType::Varchar(65_533), None),
    ];
    let mut table = new_table("everything", 2, Some("group"));
    let column = |(id, (ty, default)): (u32, (ColumnType, _))| Column {
        id,
        name: format!("c{id}"),
        ty,
        nullable: id > 0,
        default,
        comment: format!("column {id}"),
    };
    table.schema.columns = (0..).zip(types).map(column).collect();
    table.properties = vec![("enable_persistent_index".into(), "true".into())];
    table.comment = "a table".into();
    table
}

/// Compares with a golden file; one that is missing is written, and the test fails once. A released one is never rewritten.
fn golden(name: &str, written: &[u8]) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if !path.exists() {
        std::fs::write(&path, written).unwrap();
        panic!("{name} was missing and is written now: look at it, and add it");
    }
    let kept = std::fs::read(path).unwrap();
    assert!(kept == written, "{name}: {} bytes, golden {}", written.len(), kept.len());
    kept
}

#[test]
fn durable_form_version_1() {
    let catalog = with_database();
    let create = CatalogOp::CreateTable { db: "d".into(), table: everything(), if_not_exists: false };
    let edit = catalog.resolve(&create, 3, 1_700_000_000).unwrap().unwrap();
    let catalog = catalog.apply(Seq(2), &edit);
    let id = catalog.table("d", "everything").unwrap().id;
    let edits = [
        ("edit-create-database-v1", CatalogEdit::CreateDatabase(catalog.database("d").unwrap().as_ref().clone())),
        ("edit-drop-database-v1", CatalogEdit::DropDatabase(catalog.database("d").unwrap().id)),
        ("edit-create-table-v1", edit),
        ("edit-drop-table-v1", CatalogEdit::DropTable(id)),
        ("edit-truncate-table-v1", CatalogEdit::TruncateTable { table: id, tablets: vec![TabletId(2000)] }),
    ];
    for (name, edit) in edits {
        let kept = golden(name, &edit.to_bytes());
        assert_eq!(CatalogEdit::from_bytes(&kept).unwrap(), edit);
    }
    let kept = golden("catalog-v1", &catalog.to_bytes());
    let read = Catalog::from_bytes(&kept).unwrap();
    assert_eq!(read.to_bytes(), kept);
    assert_eq!(read.table("d", "everything").unwrap(), catalog.table("d", "everything").unwrap());
}

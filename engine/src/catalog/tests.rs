#![expect(clippy::unwrap_used, reason = "tests")]
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

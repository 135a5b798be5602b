//! The catalog's checkpoint and changes, as the log and the catalog log hold them.

use starling_engine::catalog::{Catalog, CatalogEdit};
use starling_storage::ids::Seq;

use crate::corpus;
use crate::fuzz::{Form, Fuzz};

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(corpus("").join("../golden").join(name)).unwrap()
}

const EDITS: [&str; 5] = [
    "edit-create-database-v1",
    "edit-create-table-v1",
    "edit-drop-database-v1",
    "edit-drop-table-v1",
    "edit-truncate-table-v1",
];

/// What was read can be used: it is shown, changed and written.
fn use_catalog(catalog: &Catalog) {
    for table in catalog.all_tables() {
        let _ = catalog.tablet_ids().map(|tablet| catalog.owner(tablet, 3)).collect::<Vec<_>>();
        assert!(!format!("{table:?}").is_empty());
    }
    drop(Catalog::from_bytes(&catalog.to_bytes()).unwrap());
}

#[test]
fn checkpoints_and_changes() {
    let base = Catalog::from_bytes(&golden("catalog-v1")).unwrap();
    let mut fuzz = Fuzz::new("catalog", Form::Bytes, &corpus("catalog"));
    fuzz.seed(golden("catalog-v1"));
    EDITS.iter().for_each(|name| fuzz.seed(golden(name)));
    fuzz.run(10_000, |bytes| {
        if let Ok(catalog) = Catalog::from_bytes(bytes) {
            use_catalog(&catalog);
        }
        if let Ok(edit) = CatalogEdit::from_bytes(bytes) {
            use_catalog(&base.apply(Seq(1000), &edit));
        }
    });
}

/// In a log record the bytes lie where the record puts them, which is at any address.
#[test]
fn changes_are_read_at_any_address() {
    for name in EDITS {
        let bytes = golden(name);
        let edit = CatalogEdit::from_bytes(&bytes).unwrap();
        for shift in 0..16 {
            let moved = [vec![0; shift], bytes.clone()].concat();
            assert_eq!(CatalogEdit::from_bytes(&moved[shift..]).unwrap(), edit, "{name} at {shift}");
        }
    }
    let bytes = golden("catalog-v1");
    for shift in 0..16 {
        let moved = [vec![0; shift], bytes.clone()].concat();
        assert!(Catalog::from_bytes(&moved[shift..]).is_ok(), "at {shift}");
    }
}

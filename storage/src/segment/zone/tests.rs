//! Zones never exclude a vector that holds a match, and do exclude others.

use super::*;
use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use std::sync::Arc;

fn zone(ty: ColumnType, array: ArrayRef) -> Zone {
    let mut input = ColumnInput::new(ty);
    input.append(&array, 0, array.len()).unwrap();
    let zone = Zone::of(&input, 0..array.len());
    let mut bytes = Vec::new();
    zone.put(ty, &mut bytes);
    assert_eq!(bytes.len(), Zone::size(ty));
    assert_eq!(Zone::parse(ty, zone.rows, &bytes).as_ref(), Some(&zone), "{zone:?}");
    zone
}

fn compare(op: CompareOp, value: Scalar) -> Predicate {
    Predicate::Compare { column: 0, op, value }
}

fn prefix(text: &str) -> Predicate {
    Predicate::Prefix { column: 0, prefix: text.to_string() }
}

use CompareOp::{Eq, Ge, Gt, Le, Lt, Ne};

#[test]
fn integers() {
    let zone = zone(ColumnType::BigInt, Arc::new(Int64Array::from(vec![None, Some(-5), Some(9)])));
    assert_eq!(zone, Zone { rows: 3, nulls: 1, bounds: Bounds::Int(-5, 9) });
    let may = |op, value| zone.may_match(&compare(op, Scalar::Int(value)));
    assert!(may(Eq, -5) && may(Eq, 0) && may(Eq, 9) && !may(Eq, -6) && !may(Eq, 10));
    assert!(may(Lt, -4) && !may(Lt, -5) && may(Le, -5) && !may(Le, -6));
    assert!(may(Gt, 8) && !may(Gt, 9) && may(Ge, 9) && !may(Ge, 10));
    assert!(may(Ne, 9) && zone.may_match(&Predicate::IsNull { column: 0 }));
    let list = |values: &[i64]| values.iter().map(|&v| Scalar::Int(v)).collect();
    assert!(zone.may_match(&Predicate::In { column: 0, values: list(&[-9, 3]) }));
    assert!(!zone.may_match(&Predicate::In { column: 0, values: list(&[-9, 10]) }));
    // A value of another type excludes nothing.
    assert!(zone.may_match(&compare(Eq, Scalar::Text("x".into()))));
}

#[test]
fn one_value_and_only_nulls() {
    let same = zone(ColumnType::BigInt, Arc::new(Int64Array::from(vec![4, 4])));
    assert!(!same.may_match(&compare(Ne, Scalar::Int(4))) && same.may_match(&compare(Ne, Scalar::Int(5))));
    assert!(!same.may_match(&Predicate::NotIn { column: 0, values: vec![Scalar::Int(1), Scalar::Int(4)] }));
    assert!(!same.may_match(&Predicate::IsNull { column: 0 }));
    let null = zone(ColumnType::BigInt, Arc::new(Int64Array::from(vec![None, None])));
    assert!(!null.may_match(&compare(Ne, Scalar::Int(4))) && !null.may_match(&Predicate::IsNotNull { column: 0 }));
    assert!(null.may_match(&Predicate::IsNull { column: 0 }));
}

#[test]
fn floats_with_zeros_and_nans() {
    let zeros = zone(ColumnType::Double, Arc::new(Float64Array::from(vec![0.0])));
    let may = |zone: &Zone, op, value| zone.may_match(&compare(op, Scalar::Float(value)));
    assert!(may(&zeros, Eq, -0.0) && may(&zeros, Eq, 0.0) && !may(&zeros, Eq, 1e-300));
    assert!(!may(&zeros, Ne, -0.0) && !may(&zeros, Lt, 0.0) && !may(&zeros, Gt, -0.0));
    let nan = zone(ColumnType::Double, Arc::new(Float64Array::from(vec![1.0, f64::NAN, -f64::NAN])));
    assert!(may(&nan, Eq, 5.0) && may(&nan, Eq, -5.0) && may(&nan, Eq, f64::NAN));
    let plain = zone(ColumnType::Double, Arc::new(Float64Array::from(vec![-1.5, 2.5])));
    assert!(may(&plain, Lt, -1.0) && !may(&plain, Lt, -1.5) && !may(&plain, Gt, 2.5) && may(&plain, Ge, 2.5));
}

#[test]
fn strings_are_cut_without_losing_matches() {
    let long = format!("{}zz", "m".repeat(40));
    let array = StringArray::from(vec!["b", long.as_str()]);
    let zone = zone(ColumnType::Varchar(100), Arc::new(array));
    let may = |op, value: &str| zone.may_match(&compare(op, Scalar::Text(value.into())));
    assert!(may(Eq, &long) && may(Gt, &"m".repeat(40)) && !may(Gt, "n") && !may(Eq, "a") && !may(Lt, "b"));
    let begins = |text: &str| zone.may_match(&prefix(text));
    assert!(begins("") && begins("b") && begins("c") && begins(&"m".repeat(42)) && begins(&long));
    assert!(!begins("a") && !begins("n") && begins("ma"));
    let all = "k".repeat(TEXT_BYTES);
    let exact = self::zone(ColumnType::Varchar(100), Arc::new(StringArray::from(vec![all.as_str()])));
    assert!(!exact.may_match(&compare(Ne, Scalar::Text(all.clone()))));
    assert!(!exact.may_match(&compare(Gt, Scalar::Text(all))));
}

#[test]
fn merging_is_the_zone_of_all() {
    let (a, b) = (vec!["b", "x"], vec!["a", "xx"]);
    let ty = ColumnType::Varchar(10);
    let mut merged = zone(ty, Arc::new(StringArray::from(a.clone())));
    merged.merge(&zone(ty, Arc::new(StringArray::from(b.clone()))));
    assert_eq!(merged, zone(ty, Arc::new(StringArray::from([a, b].concat()))));
    merged.merge(&zone(ty, Arc::new(StringArray::from(vec![None::<&str>]))));
    assert_eq!((merged.rows, merged.nulls), (5, 1));
}

#[test]
fn bytes_that_are_no_zone() {
    assert_eq!(Zone::parse(ColumnType::Int, 5, &[0; 24]), None, "values but no bounds");
    assert_eq!(Zone::parse(ColumnType::Int, 5, &[9; 24]), None, "more NULLs than rows");
    assert_eq!(Zone::parse(ColumnType::Int, 0, &[0; 10]), None, "short");
    assert!(Zone::parse(ColumnType::Int, 0, &[0; 24]).is_some());
    let mut text = vec![0; Zone::size(ColumnType::Char(1))];
    text[4..6].copy_from_slice(&[1, 200]);
    assert_eq!(Zone::parse(ColumnType::Char(1), 5, &text), None, "a length beyond the slot");
}

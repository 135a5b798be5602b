//! What may be pushed to storage, what keeps the bucket hash, what the checker refuses.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{col, lit};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column as PhysicalColumn};
use starling_storage::schema::{Column, ColumnType, CompareOp, Predicate, Scalar, TableKind, TabletSchema};

use super::placement::{Bucketed, HashClass, Routing, hashed_column};
use super::pushdown::{predicates, scalar};

fn schema() -> TabletSchema {
    let column = |(id, (name, ty)): (usize, (&str, ColumnType))| Column {
        id: id as u32,
        name: name.to_string(),
        ty,
        nullable: true,
        default: None,
        comment: String::new(),
    };
    let columns = [
        ("i", ColumnType::Int),
        ("t", ColumnType::TinyInt),
        ("s", ColumnType::Varchar(10)),
        ("d", ColumnType::Decimal { precision: 10, scale: 2 }),
        ("l", ColumnType::LargeInt),
        ("b", ColumnType::Boolean),
        ("f", ColumnType::Float),
    ];
    TabletSchema {
        version: 1,
        kind: TableKind::Duplicate,
        columns: columns.into_iter().enumerate().map(column).collect(),
        key_columns: 1,
        sort_columns: vec![0],
        bucket_columns: vec![0],
    }
}

#[test]
fn a_disjunction_of_equalities_of_one_column_is_an_in() {
    let schema = schema();
    let values = |values: &[i64]| values.iter().copied().map(Scalar::Int).collect();
    let or = col("i").eq(lit(5i64)).or(lit(7i64).eq(col("i"))).or(col("i").in_list(vec![lit(9i64)], false));
    assert_eq!(predicates(&or, &schema), Some(vec![Predicate::In { column: 0, values: values(&[5, 7, 9]) }]));
    for other in [
        col("i").eq(lit(5i64)).or(col("t").eq(lit(5i64))),
        col("i").eq(lit(5i64)).or(col("i").gt(lit(9i64))),
        col("i").eq(lit(5i64)).or(col("i").eq(lit(7i64)).and(col("t").eq(lit(1i64)))),
        col("i").eq(lit(5i64)).or(col("i").in_list(vec![lit(9i64)], true)),
    ] {
        assert_eq!(predicates(&other, &schema), None, "{other}");
    }
}

#[test]
fn constants_are_conditions() {
    let nothing = vec![Predicate::In { column: 0, values: Vec::new() }];
    assert_eq!(predicates(&lit(true), &schema()), Some(Vec::new()));
    assert_eq!(predicates(&lit(false), &schema()), Some(nothing.clone()));
    assert_eq!(predicates(&lit(ScalarValue::Boolean(None)), &schema()), Some(nothing));
}

#[test]
fn comparisons_with_exact_values_are_pushed() {
    let schema = schema();
    let compare = |column, op, value| Some(vec![Predicate::Compare { column, op, value }]);
    assert_eq!(predicates(&col("i").gt(lit(5i64)), &schema), compare(0, CompareOp::Gt, Scalar::Int(5)));
    assert_eq!(predicates(&lit(5i32).gt(col("i")), &schema), compare(0, CompareOp::Lt, Scalar::Int(5)));
    assert_eq!(predicates(&col("d").eq(lit(3i64)), &schema), compare(3, CompareOp::Eq, Scalar::Wide(300)));
    assert_eq!(predicates(&col("l").eq(lit(3i64)), &schema), compare(4, CompareOp::Eq, Scalar::Wide(3)));
    assert_eq!(predicates(&col("b"), &schema), compare(5, CompareOp::Eq, Scalar::Bool(true)));
    assert_eq!(predicates(&!col("b"), &schema), compare(5, CompareOp::Eq, Scalar::Bool(false)));
    assert_eq!(
        predicates(&col("s").like(lit("ab%")), &schema),
        Some(vec![Predicate::Prefix { column: 2, prefix: "ab".to_string() }])
    );
    let both = predicates(&col("i").gt(lit(5i64)).and(col("s").is_null()), &schema);
    assert_eq!(both.map(|p| p.len()), Some(2));
}

#[test]
fn what_storage_cannot_evaluate_exactly_stays() {
    let schema = schema();
    for expr in [
        col("t").gt(lit(300i64)),
        col("i").eq(lit(ScalarValue::Int32(None))),
        col("i").gt(col("t")),
        col("s").like(lit("a_b%")),
        col("s").like(lit("a%b%")),
        col("f").gt(lit(0.1f64)),
        col("i").gt(lit(1i64)).or(col("i").lt(lit(0i64))),
        (col("i") + lit(1i64)).eq(lit(3i64)),
    ] {
        assert_eq!(predicates(&expr, &schema), None, "{expr}");
    }
    assert_eq!(scalar(&ScalarValue::Float64(Some(f64::NAN)), ColumnType::Double), None);
}

#[test]
fn only_lossless_casts_keep_the_bucket_hash() {
    let input = Schema::new(vec![
        Field::new("i", DataType::Int32, true),
        Field::new("d", DataType::Date32, true),
        Field::new("big", DataType::Int64, true),
    ]);
    let through = |column: usize, to: DataType| {
        let name = input.field(column).name();
        let expr: Arc<dyn PhysicalExpr> =
            Arc::new(CastExpr::new(Arc::new(PhysicalColumn::new(name, column)), to, None));
        hashed_column(&expr, &input)
    };
    assert_eq!(through(0, DataType::Int64), Some(0));
    assert_eq!(through(0, DataType::Decimal256(39, 0)), Some(0));
    assert_eq!(through(2, DataType::Int32), None);
    assert_eq!(through(0, DataType::Float64), None);
    assert_eq!(through(0, DataType::Utf8), None);
    assert_eq!(through(1, DataType::Timestamp(TimeUnit::Microsecond, None)), None);
}

#[test]
fn a_projection_that_drops_a_bucket_column_loses_the_buckets() {
    let bucketed = Bucketed {
        columns: vec![vec![0, 4], vec![2]],
        classes: vec![HashClass::Int, HashClass::Text],
        routing: Routing::by_core(2),
    };
    let sources = [Some(2), None, Some(4)];
    let kept = bucketed.through(3, |i| sources[i]);
    assert_eq!(kept.map(|b| b.columns), Some(vec![vec![2], vec![0]]));
    assert_eq!(bucketed.through(1, |_| Some(0)), None);
    assert!(bucketed.covers(&[Some(9), Some(2), Some(4)]));
    assert!(!bucketed.covers(&[Some(0), Some(4)]));
}

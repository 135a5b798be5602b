//! EXPLAIN: fragments from the result down, one text row a line, with the words that tools look for (`join op:`, `tabletRatio`,
//! `colocate: true`).

use std::sync::Arc;
use std::time::Duration;

use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::{ExecutionPlan, displayable};

use super::fragment::{At, DistributedPlan, ExchangeId, Fragment, Route};
use super::scan::ScanExec;
use super::source::SourceExec;
use super::watch::WatchExec;
use crate::exec::profile::FragmentProfile;

/// The plan as text.
pub fn explain(plan: &DistributedPlan) -> Vec<String> {
    let mut lines = Vec::new();
    explain_into(plan, &mut lines);
    for (number, subquery) in plan.subqueries.iter().enumerate() {
        lines.push(String::new());
        lines.push(format!("SCALAR SUBQUERY {number} (runs first, at the same snapshot)"));
        explain_into(&subquery.plan, &mut lines);
    }
    lines
}

fn explain_into(plan: &DistributedPlan, lines: &mut Vec<String>) {
    let order: Vec<usize> = (0..plan.fragments.len()).rev().collect();
    for (number, &index) in order.iter().enumerate() {
        let fragment = &plan.fragments[index];
        if number > 0 {
            lines.push(String::new());
        }
        lines.push(format!("PLAN FRAGMENT {}", fragment.output.0));
        if fragment.output == plan.result {
            let fields = plan.schema().fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(" | ");
            lines.push(format!(" OUTPUT EXPRS:{fields}"));
        }
        lines.push(format!("  PARTITION: {}", partition(plan, fragment)));
        lines.push(format!("  LANE: {}", lane(fragment)));
        lines.push(format!("  {}", sink(plan, fragment)));
        explain_node(plan, &fragment.plan, 1, lines);
    }
}

/// The plan with what each operator did on each core.
pub fn explain_analyze(
    plan: &DistributedPlan,
    profiles: &[FragmentProfile],
    rows: usize,
    elapsed: Duration,
) -> Vec<String> {
    let mut lines = vec![format!("Summary: rows={rows} time={elapsed:?} cores={}", plan.cores)];
    for profile in profiles {
        let lane = plan.fragments.iter().find(|f| f.output.0 == profile.fragment).map_or("", lane);
        lines.push(format!(
            "PLAN FRAGMENT {} core={} lane={lane} time={:?}",
            profile.fragment, profile.core, profile.wall
        ));
        for operator in profile.operators.iter().rev() {
            let bytes = if operator.bytes > 0 { format!(" bytes={}", operator.bytes) } else { String::new() };
            let note = if operator.note.is_empty() { String::new() } else { format!(" {}", operator.note) };
            lines.push(format!("  {} rows={}{bytes} time={:?}{note}", operator.name, operator.rows, operator.busy));
        }
    }
    lines.push(String::new());
    lines.extend(explain(plan));
    lines
}

/// Which lane runs a fragment.
pub fn lane(fragment: &Fragment) -> &'static str {
    if fragment.pipeline.is_some() { "FAST" } else { "SLOW" }
}

fn partition(plan: &DistributedPlan, fragment: &Fragment) -> String {
    match fragment.at {
        At::Coordinator => "UNPARTITIONED".to_string(),
        At::EveryCore => format!("RANDOM ({} cores)", plan.cores),
    }
}

fn sink(plan: &DistributedPlan, fragment: &Fragment) -> String {
    let id = fragment.output.0;
    if fragment.output == plan.result {
        return "RESULT SINK".to_string();
    }
    match &plan.exchanges[id].route {
        Route::Gather => format!("STREAM DATA SINK EXCHANGE ID: {id:02} UNPARTITIONED"),
        Route::Broadcast => format!("STREAM DATA SINK EXCHANGE ID: {id:02} BROADCAST"),
        Route::Merge => format!("STREAM DATA SINK EXCHANGE ID: {id:02} UNPARTITIONED, ORDERED"),
        Route::Local => format!("LOCAL SINK EXCHANGE ID: {id:02} (same core, other lane)"),
        Route::Hash { keys, routing, towards_buckets } => {
            let keys = keys.iter().map(|k| k.to_string()).collect::<Vec<_>>().join(", ");
            let kind = if *towards_buckets { "BUCKET_SHUFFLE_HASH_PARTITIONED" } else { "HASH_PARTITIONED" };
            format!("STREAM DATA SINK EXCHANGE ID: {id:02} {kind}: {keys} ({} buckets)", routing.buckets())
        }
    }
}

fn explain_node(plan: &DistributedPlan, node: &Arc<dyn ExecutionPlan>, depth: usize, lines: &mut Vec<String>) {
    let pad = "  ".repeat(depth);
    if let Some(scan) = node.downcast_ref::<ScanExec>() {
        explain_scan(scan, &pad, lines);
        return;
    }
    if node.is::<WatchExec>() {
        node.children().into_iter().for_each(|child| explain_node(plan, child, depth, lines));
        return;
    }
    if let Some(source) = node.downcast_ref::<SourceExec>() {
        lines.push(format!("{pad}EXCHANGE {:02}", source.exchange().0));
        return;
    }
    if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        explain_join(plan, join, &pad, lines);
    } else {
        let text = displayable(node.as_ref()).one_line().to_string();
        lines.push(format!("{pad}{}", text.trim_end()));
    }
    if let Some(aggregate) = node.downcast_ref::<AggregateExec>()
        && *aggregate.mode() == datafusion::physical_plan::aggregates::AggregateMode::SinglePartitioned
    {
        lines.push(format!("{pad}|  groups are on one core each: no exchange"));
    }
    node.children().into_iter().for_each(|child| explain_node(plan, child, depth + 1, lines));
}

fn explain_scan(scan: &ScanExec, pad: &str, lines: &mut Vec<String>) {
    let table = scan.table();
    let read: usize = scan.tablets().iter().map(Vec::len).sum();
    let names: Vec<_> = scan.columns().iter().map(|&c| table.schema.columns[c].name.as_str()).collect();
    lines.push(format!("{pad}OlapScanNode"));
    lines.push(format!("{pad}   TABLE: {}", table.name));
    lines.push(format!("{pad}   COLUMNS: {}", names.join(", ")));
    if !scan.predicates().is_empty() {
        let predicates: Vec<_> = scan.predicates().iter().map(|p| predicate(scan, p)).collect();
        lines.push(format!("{pad}   PREDICATES: {}", predicates.join(", ")));
    }
    if let Some(limit) = scan.limit() {
        lines.push(format!("{pad}   LIMIT: {limit}"));
    }
    let cardinality = scan.estimate().map_or("unknown".to_string(), |rows| format!("{rows:.0}"));
    lines.push(format!("{pad}   partitions=1/1"));
    lines.push(format!("{pad}   rollup: {}", table.name));
    lines.push(format!("{pad}   tabletRatio={read}/{}", table.tablets.len()));
    lines.push(format!("{pad}   cardinality={cardinality}"));
}

fn predicate(scan: &ScanExec, predicate: &starling_storage::schema::Predicate) -> String {
    use starling_storage::schema::{CompareOp, Predicate, Scalar};
    let name = &scan.table().schema.columns[predicate.column()].name;
    let value = |scalar: &Scalar| match scalar {
        Scalar::Bool(v) => v.to_string(),
        Scalar::Int(v) => v.to_string(),
        Scalar::Wide(v) => v.to_string(),
        Scalar::Float(v) => v.to_string(),
        Scalar::Text(v) => format!("'{v}'"),
    };
    let values = |list: &[Scalar]| list.iter().map(value).collect::<Vec<_>>().join(", ");
    match predicate {
        Predicate::Compare { op, value: v, .. } => {
            let op = match op {
                CompareOp::Eq => "=",
                CompareOp::Ne => "!=",
                CompareOp::Lt => "<",
                CompareOp::Le => "<=",
                CompareOp::Gt => ">",
                CompareOp::Ge => ">=",
            };
            format!("{name} {op} {}", value(v))
        }
        Predicate::In { values: list, .. } => format!("{name} IN ({})", values(list)),
        Predicate::NotIn { values: list, .. } => format!("{name} NOT IN ({})", values(list)),
        Predicate::Prefix { prefix, .. } => format!("{name} LIKE '{prefix}%'"),
        Predicate::IsNull { .. } => format!("{name} IS NULL"),
        Predicate::IsNotNull { .. } => format!("{name} IS NOT NULL"),
    }
}

fn explain_join(plan: &DistributedPlan, join: &HashJoinExec, pad: &str, lines: &mut Vec<String>) {
    let routes: Vec<_> = join.children().into_iter().filter_map(|child| route_below(plan, child)).collect();
    let hashed = routes.iter().any(|route| matches!(route, Route::Hash { .. }));
    let bucket = routes.iter().any(|route| matches!(route, Route::Hash { towards_buckets: true, .. }));
    let mode = match join.partition_mode() {
        PartitionMode::Partitioned if bucket => "BUCKET_SHUFFLE",
        PartitionMode::Partitioned if hashed => "PARTITIONED",
        PartitionMode::Partitioned => "COLOCATE",
        _ => "BROADCAST",
    };
    let on: Vec<_> = join.on().iter().map(|(l, r)| format!("{l} = {r}")).collect();
    let kind = join.join_type().to_string().to_uppercase();
    lines.push(format!("{pad}HASH JOIN"));
    lines.push(format!("{pad}|  join op: {kind} JOIN ({mode})"));
    lines.push(format!("{pad}|  colocate: {}", mode == "COLOCATE"));
    lines.push(format!("{pad}|  equal join conjunct: {}", on.join(", ")));
    if let Some(filter) = join.filter() {
        lines.push(format!("{pad}|  other join predicates: {}", filter.expression()));
    }
}

/// The route by which a join input arrives, looking through nodes that keep rows where they are.
fn route_below<'a>(plan: &'a DistributedPlan, node: &Arc<dyn ExecutionPlan>) -> Option<&'a Route> {
    if let Some(source) = node.downcast_ref::<SourceExec>() {
        let ExchangeId(id) = source.exchange();
        return Some(&plan.exchanges[id].route);
    }
    match node.children().as_slice() {
        [only] => route_below(plan, only),
        _ => None,
    }
}

//! Which field of the input fills which column of the table: the `columns` header, or the table's own order.

use starling_storage::schema::{DefaultValue, TabletSchema};

/// The pseudo-column that says whether a row is an upsert (0) or a delete (1).
pub const OP_COLUMN: &str = "__op";

/// What a field of the input fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The column at this position.
    Column(usize),
    /// `__op`.
    Op,
    /// A name that the table does not have: read and dropped.
    Ignored,
}

/// The mapping of one load.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Per field of the input, in order: its name and what it fills.
    pub fields: Vec<(String, Slot)>,
    /// Columns that no field fills, by position; they take their defaults.
    pub unnamed: Vec<usize>,
    /// `__op='delete'`: every row is a delete.
    pub all_deletes: bool,
    /// `__op='upsert'`, which is what happens anyway.
    all_upserts: bool,
    /// A field gives `__op`.
    pub has_op: bool,
}

/// Builds the mapping. `by_name`: the format names its fields (JSON), so without a `columns` header `__op` may appear too.
pub fn build(schema: &TabletSchema, columns: Option<&str>, by_name: bool) -> Result<Target, String> {
    let primary = schema.kind == starling_storage::schema::TableKind::PrimaryKey;
    let mut target =
        Target { fields: Vec::new(), unnamed: Vec::new(), all_deletes: false, all_upserts: false, has_op: false };
    match columns.map(str::trim).filter(|c| !c.is_empty()) {
        Some(list) => {
            for item in list.split(',').map(str::trim) {
                add(&mut target, schema, item)?;
            }
        }
        None => {
            target.fields = schema.columns.iter().enumerate().map(|(i, c)| (c.name.clone(), Slot::Column(i))).collect();
            if by_name && primary {
                target.fields.push((OP_COLUMN.into(), Slot::Op));
            }
        }
    }
    target.has_op = target.fields.iter().any(|(_, slot)| *slot == Slot::Op);
    if (target.has_op || target.all_deletes) && !primary {
        return Err(format!("{OP_COLUMN} needs a primary key table; this table keeps every row"));
    }
    check(&mut target, schema)?;
    Ok(target)
}

fn add(target: &mut Target, schema: &TabletSchema, item: &str) -> Result<(), String> {
    let Some((left, right)) = item.split_once('=') else {
        let name = unquote(item)?;
        let slot = match schema.position(name) {
            Some(position) => Slot::Column(position),
            None if name.eq_ignore_ascii_case(OP_COLUMN) => {
                op_once(target)?;
                Slot::Op
            }
            None => Slot::Ignored,
        };
        target.fields.push((name.to_string(), slot));
        return Ok(());
    };
    let (left, right) = (unquote(left.trim())?, right.trim());
    if !left.eq_ignore_ascii_case(OP_COLUMN) {
        return Err(format!("columns: expression '{item}' is not supported yet; give a list of names"));
    }
    op_once(target)?;
    match right.trim_matches(|c| c == '\'' || c == '"').to_ascii_lowercase().as_str() {
        "delete" | "1" => target.all_deletes = true,
        "upsert" | "0" => target.all_upserts = true,
        name => {
            let field =
                target.fields.iter_mut().find(|(n, slot)| n.eq_ignore_ascii_case(name) && *slot == Slot::Ignored);
            let (_, slot) =
                field.ok_or_else(|| format!("columns: '{item}' names no field that is free to be {OP_COLUMN}"))?;
            *slot = Slot::Op;
        }
    }
    Ok(())
}

/// What is said twice of `__op` would be two answers to one question.
fn op_once(target: &Target) -> Result<(), String> {
    let said = target.all_deletes || target.all_upserts || target.fields.iter().any(|(_, slot)| *slot == Slot::Op);
    if said { Err(format!("columns: {OP_COLUMN} is given twice")) } else { Ok(()) }
}

fn unquote(name: &str) -> Result<&str, String> {
    let inner = name.strip_prefix('`').and_then(|n| n.strip_suffix('`')).unwrap_or(name);
    match inner.is_empty() || inner.contains(['(', ')', '`', ' ']) {
        true => Err(format!("columns: '{name}' is not a column name")),
        false => Ok(inner),
    }
}

/// No column twice; what is not named has a default.
fn check(target: &mut Target, schema: &TabletSchema) -> Result<(), String> {
    let mut named = vec![false; schema.columns.len()];
    for (name, slot) in &target.fields {
        if let Slot::Column(position) = slot
            && std::mem::replace(&mut named[*position], true)
        {
            return Err(format!("columns: {name} is named twice"));
        }
    }
    for (position, column) in schema.columns.iter().enumerate().filter(|(i, _)| !named[*i]) {
        let no_value = matches!(column.default, None | Some(DefaultValue::Null));
        let needed = !target.all_deletes || position < schema.key_columns as usize;
        if no_value && !column.nullable && needed {
            return Err(format!("column {} is NOT NULL, has no default and is not in the columns header", column.name));
        }
        target.unnamed.push(position);
    }
    Ok(())
}

/// What a value of `__op` means; `None`: neither.
pub fn is_delete(value: &[u8]) -> Option<bool> {
    let is = |words: [&[u8]; 2]| words.iter().any(|word| value.eq_ignore_ascii_case(word));
    match value {
        b"" => Some(false),
        _ if is([b"0", b"upsert"]) => Some(false),
        _ if is([b"1", b"delete"]) => Some(true),
        _ => None,
    }
}

//! The two foreign errors of this part as errors a client understands: sqlparser's, with line and column, and DataFusion's, whose binding errors have
//! numbers that drivers and connectors look for (starrocks.md 12.2).

use datafusion::common::{DataFusionError, SchemaError};
use sqlparser::parser::ParserError;

use crate::error::EngineError;

impl EngineError {
    /// A complaint about the text at a place of it.
    pub fn syntax_at(line: u64, column: u64, detail: impl std::fmt::Display) -> EngineError {
        EngineError::new(
            1064,
            b"42000",
            format!("Getting syntax error at line {line}, column {column}. Detail message: {detail}."),
        )
    }
}

impl From<ParserError> for EngineError {
    fn from(error: ParserError) -> EngineError {
        match error {
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => located(&text),
            ParserError::RecursionLimitExceeded => EngineError::syntax("the statement nests too deep"),
        }
    }
}

/// sqlparser ends its messages with ` at Line: 1, Column: 7`.
fn located(text: &str) -> EngineError {
    let parts = text.rsplit_once(" at Line: ").and_then(|(detail, place)| {
        let (line, column) = place.split_once(", Column: ")?;
        Some((detail, line.parse().ok()?, column.trim_end_matches('.').parse().ok()?))
    });
    match parts {
        Some((detail, line, column)) => EngineError::syntax_at(line, column, detail),
        None => EngineError::syntax(text),
    }
}

impl From<DataFusionError> for EngineError {
    fn from(error: DataFusionError) -> EngineError {
        match error {
            DataFusionError::SchemaError(error, _) => schema_error(*error),
            DataFusionError::External(error) => match error.downcast::<EngineError>() {
                Ok(own) => *own,
                Err(other) => analysis(&other.to_string()),
            },
            DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => (*inner).into(),
            DataFusionError::Shared(inner) => match DataFusionError::from(&inner) {
                DataFusionError::Shared(inner) => analysis(&inner.strip_backtrace()),
                other => other.into(),
            },
            DataFusionError::Collection(errors) => match errors.into_iter().next() {
                Some(first) => first.into(),
                None => EngineError::internal("an empty list of errors"),
            },
            DataFusionError::Plan(text) => analysis(&text),
            DataFusionError::NotImplemented(text) => EngineError::unsupported(text),
            DataFusionError::ResourcesExhausted(text) => EngineError::new(5609, b"53200", text),
            DataFusionError::Internal(text) => EngineError::internal(text),
            DataFusionError::SQL(error, _) => (*error).into(),
            other => analysis(&other.strip_backtrace()),
        }
    }
}

/// What the binder says of a statement. A call with a number of arguments that fits no form of a function is an internal error to it, and a list of
/// candidates in its own types; the user's form of that is the signature that was asked for.
fn analysis(text: &str) -> EngineError {
    let signature = text
        .split_once("No function matches the given name and argument types '")
        .and_then(|(reasons, rest)| reasons.contains(" but received ").then(|| rest.split_once("'.")).flatten())
        .map(|(signature, _)| signature);
    match signature {
        Some(signature) => EngineError::no_matching_function(signature),
        None => EngineError::analyze(text),
    }
}

fn schema_error(error: SchemaError) -> EngineError {
    match error {
        SchemaError::AmbiguousReference { field } => EngineError::ambiguous_column(field.name),
        SchemaError::FieldNotFound { field, .. } => {
            let name = match &field.relation {
                Some(relation) => format!("{}.{}", relation.table(), field.name),
                None => field.name.clone(),
            };
            EngineError::new(
                5509,
                b"42S22",
                format!("Getting analyzing error. Detail message: Column '{name}' cannot be resolved."),
            )
        }
        SchemaError::DuplicateQualifiedField { qualifier, .. } => {
            EngineError::new(1066, b"42000", format!("Not unique table/alias: '{}'", qualifier.table()))
        }
        SchemaError::DuplicateUnqualifiedField { name } => EngineError::duplicate_column(name),
    }
}

//! The allow-list: lower-case names to the functions that the binder puts in a plan.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    AggregateUDF, ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
    WindowUDF,
};

/// All functions by name and alias. Frozen; lookups ignore case.
#[derive(Default)]
pub struct FunctionRegistry {
    scalars: HashMap<String, Arc<ScalarUDF>>,
    aggregates: HashMap<String, Arc<AggregateUDF>>,
    windows: HashMap<String, Arc<WindowUDF>>,
}

impl FunctionRegistry {
    /// The scalar function of that name (`ContextProvider::get_function_meta`).
    pub fn scalar(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        find(&self.scalars, name)
    }

    /// As [`FunctionRegistry::scalar`]; for a name that no function has, one whose call is error 1064 with the types it
    /// was called with.
    pub fn scalar_or_unknown(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        let unknown = || (!self.contains(name)).then(|| Arc::new(Unknown::function(name)));
        self.scalar(name).or_else(unknown)
    }

    /// The aggregate function of that name (`ContextProvider::get_aggregate_meta`).
    pub fn aggregate(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        find(&self.aggregates, name)
    }

    /// The window function of that name (`ContextProvider::get_window_meta`).
    pub fn window(&self, name: &str) -> Option<Arc<WindowUDF>> {
        find(&self.windows, name)
    }

    /// Whether any function has that name.
    pub fn contains(&self, name: &str) -> bool {
        self.scalar(name).is_some() || self.aggregate(name).is_some() || self.window(name).is_some()
    }

    /// Names of the scalar functions a user may call, sorted (`SHOW FUNCTIONS`, `ContextProvider::udf_names`).
    pub fn scalar_names(&self) -> Vec<String> {
        names(&self.scalars)
    }

    /// Names of the aggregate functions, sorted.
    pub fn aggregate_names(&self) -> Vec<String> {
        names(&self.aggregates)
    }

    /// Names of the window functions, sorted.
    pub fn window_names(&self) -> Vec<String> {
        names(&self.windows)
    }
}

/// A function that does not exist.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Unknown {
    name: String,
    signature: Signature,
}

impl Unknown {
    fn function(name: &str) -> ScalarUDF {
        let any = vec![TypeSignature::Nullary, TypeSignature::VariadicAny];
        ScalarUDF::from(Unknown { name: name.to_lowercase(), signature: Signature::one_of(any, Volatility::Immutable) })
    }
}

impl ScalarUDFImpl for Unknown {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Err(DataFusionError::Plan(no_matching_function(&self.name, types)))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(DataFusionError::Plan(no_matching_function(&self.name, &[])))
    }
}

/// The one registry of the process.
pub fn registry() -> &'static FunctionRegistry {
    static REGISTRY: LazyLock<FunctionRegistry> = LazyLock::new(collect);
    &REGISTRY
}

fn collect() -> FunctionRegistry {
    let scalars = [
        super::math::functions(),
        super::string::functions(),
        super::date::functions(),
        super::clock::functions(),
        super::encode::functions(),
        super::conditional::functions(),
    ];
    let named = |function: ScalarUDF| (function.name().to_string(), Arc::new(function));
    FunctionRegistry {
        scalars: scalars.into_iter().flatten().map(named).collect(),
        aggregates: super::aggregate::functions().into_iter().map(|(name, f)| (name.to_string(), f)).collect(),
        windows: super::window::functions().into_iter().map(|(name, f)| (name.to_string(), f)).collect(),
    }
}

/// The text of error 1064 for a call no function answers to, as StarRocks words it.
pub fn no_matching_function(name: &str, types: &[DataType]) -> String {
    let types: Vec<String> = types.iter().map(crate::types::type_name).collect();
    format!("No matching function with signature: {}({})", name.to_lowercase(), types.join(", "))
}

fn find<T>(map: &HashMap<String, Arc<T>>, name: &str) -> Option<Arc<T>> {
    match map.get(name) {
        Some(found) => Some(found.clone()),
        None => map.get(&name.to_lowercase()).cloned(),
    }
}

fn names<T>(map: &HashMap<String, Arc<T>>) -> Vec<String> {
    let mut names: Vec<String> = map.keys().filter(|name| !name.starts_with("__")).cloned().collect();
    names.sort();
    names
}

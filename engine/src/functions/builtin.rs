//! Our scalar functions: a name, overloads by parameter types, and for each a routine over columns. A call takes the
//! overload that costs the least to convert to; the analyzer rule casts the arguments to its parameters.

use std::sync::Arc;

use datafusion::arrow::array::cast::AsArray;
use datafusion::arrow::array::types::ArrowPrimitiveType;
use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, PrimitiveArray, StringArray, StringBuilder};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use crate::types::coercion::{self, canonical, integer_rank, is_date, is_decimal, is_float, is_text};
use crate::types::{DATETIME, LARGEINT, cast_values};

/// What a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Param {
    /// A value of any type, as it is.
    Any,
    /// The common type of all arguments whose parameter is this.
    Common,
    Bool,
    Tiny,
    Small,
    Int,
    Big,
    Large,
    Float,
    Double,
    /// DECIMAL of any precision and scale.
    Decimal,
    Text,
    Date,
    DateTime,
    Bytes,
}

/// What comes out.
#[derive(Clone, Copy)]
pub enum Returns {
    Type(fn() -> DataType),
    /// The type of that argument.
    Argument(usize),
    /// From the types of the arguments and those that are constant.
    Computed(fn(&[DataType]) -> Result<DataType>),
}

/// A routine over columns.
pub type Routine = fn(&Call<'_>) -> Result<ArrayRef>;

/// One signature of a function.
#[derive(Clone)]
pub struct Overload {
    params: &'static [Param],
    /// How many more times the last parameter may come; `None` any number of times.
    repeat: Option<usize>,
    returns: Returns,
    routine: Routine,
}

/// A scalar function of ours.
#[derive(Clone)]
pub struct Builtin {
    name: &'static str,
    overloads: Vec<Overload>,
    signature: Signature,
    /// The session's time zone, once the plan is typed, in a function that asks for it.
    zone: Zone,
}

/// What a function has to do with the session's time zone.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Zone {
    /// Nothing.
    Unused,
    /// It needs one, and is not told yet.
    Asked,
    /// It is computed in this one.
    Of(String),
}

impl Builtin {
    /// A function without overloads yet.
    pub fn new(name: &'static str) -> Builtin {
        Builtin { name, overloads: Vec::new(), signature: any(Volatility::Immutable), zone: Zone::Unused }
    }

    /// One that gives another value each time (`rand`).
    pub fn volatile(mut self) -> Builtin {
        self.signature = any(Volatility::Volatile);
        self
    }

    /// One whose result depends on the session's time zone.
    pub fn zoned(mut self) -> Builtin {
        self.zone = Zone::Asked;
        self
    }

    /// The function in a session's time zone; none where it does not depend on it.
    pub fn in_zone(&self, zone: &str) -> Option<ScalarUDF> {
        (self.zone == Zone::Asked).then(|| ScalarUDF::from(Builtin { zone: Zone::Of(zone.into()), ..self.clone() }))
    }

    /// Adds a signature with a fixed number of parameters.
    pub fn on(mut self, params: &'static [Param], returns: Returns, routine: Routine) -> Builtin {
        self.overloads.push(Overload { params, repeat: Some(0), returns, routine });
        self
    }

    /// Adds a signature whose last parameter may be repeated.
    pub fn variadic(mut self, params: &'static [Param], returns: Returns, routine: Routine) -> Builtin {
        self.overloads.push(Overload { params, repeat: None, returns, routine });
        self
    }

    /// The function as DataFusion knows it.
    pub fn build(self) -> ScalarUDF {
        ScalarUDF::from(self)
    }

    /// The best overload and the types its arguments are cast to.
    fn resolve(&self, types: &[DataType]) -> Result<(&Overload, Vec<DataType>)> {
        let types: Vec<DataType> = types.iter().map(canonical).collect();
        let candidates = self.overloads.iter().filter_map(|overload| Some((overload.cost(&types)?, overload)));
        let best = candidates.min_by_key(|(cost, _)| *cost);
        let (_, overload) =
            best.ok_or_else(|| DataFusionError::Plan(super::no_matching_function(self.name, &types)))?;
        let wanted = overload.wanted(&types);
        Ok((overload, wanted))
    }

    /// What the arguments are cast to.
    pub fn argument_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(self.resolve(types)?.1)
    }
}

/// Any number of arguments of any types: the overloads decide.
fn any(volatility: Volatility) -> Signature {
    Signature::one_of(vec![TypeSignature::Nullary, TypeSignature::VariadicAny], volatility)
}

impl Overload {
    fn param(&self, at: usize) -> Param {
        self.params[at.min(self.params.len().saturating_sub(1))]
    }

    fn cost(&self, types: &[DataType]) -> Option<u32> {
        let enough = types.len() >= self.params.len();
        let extra = types.len().saturating_sub(self.params.len());
        if !enough || self.repeat.is_some_and(|most| extra > most) {
            return None;
        }
        if types.iter().enumerate().any(|(at, _)| self.param(at) == Param::Common) {
            self.common(types)?;
        }
        types.iter().enumerate().map(|(at, ty)| self.param(at).cost(ty)).sum()
    }

    fn common(&self, types: &[DataType]) -> Option<DataType> {
        let same = types.iter().enumerate().filter(|(at, _)| self.param(*at) == Param::Common);
        coercion::supertype_of(same.map(|(_, ty)| ty))
    }

    fn wanted(&self, types: &[DataType]) -> Vec<DataType> {
        let common = self.common(types).unwrap_or(DataType::Null);
        types.iter().enumerate().map(|(at, ty)| self.param(at).wanted(ty, &common)).collect()
    }

    fn returns(&self, types: &[DataType]) -> Result<DataType> {
        match self.returns {
            Returns::Type(ty) => Ok(ty()),
            Returns::Argument(at) => Ok(types[at].clone()),
            Returns::Computed(compute) => compute(types),
        }
    }
}

impl Param {
    fn wanted(self, from: &DataType, common: &DataType) -> DataType {
        match self {
            Param::Any => from.clone(),
            Param::Common => common.clone(),
            Param::Bool => DataType::Boolean,
            Param::Tiny => DataType::Int8,
            Param::Small => DataType::Int16,
            Param::Int => DataType::Int32,
            Param::Big => DataType::Int64,
            Param::Large => LARGEINT,
            Param::Float => DataType::Float32,
            Param::Double => DataType::Float64,
            Param::Decimal => match integer_rank(from) {
                _ if is_decimal(from) => from.clone(),
                Some(0..=3) => DataType::Decimal128(10, 0),
                Some(4) => DataType::Decimal128(19, 0),
                Some(_) => DataType::Decimal128(38, 0),
                None => DataType::Decimal128(38, 9),
            },
            Param::Text => DataType::Utf8,
            Param::Date => DataType::Date32,
            Param::DateTime => DATETIME,
            Param::Bytes => DataType::Binary,
        }
    }

    /// What converting costs; none where there is no implicit conversion.
    fn cost(self, from: &DataType) -> Option<u32> {
        if from.is_null() {
            return Some(0);
        }
        let integer = |rank: u8| match integer_rank(from) {
            Some(from) if from <= rank => Some(u32::from(rank - from)),
            Some(_) => Some(20),
            None if is_decimal(from) || is_float(from) => Some(22),
            None if is_text(from) => Some(24),
            None if is_date(from) => Some(30),
            None => None,
        };
        match self {
            Param::Any | Param::Common => Some(0),
            Param::Bool => match integer_rank(from) {
                Some(0) => Some(0),
                Some(_) => Some(10),
                None if is_decimal(from) || is_float(from) => Some(12),
                None if is_text(from) => Some(24),
                None => None,
            },
            Param::Tiny => integer(1),
            Param::Small => integer(2),
            Param::Int => integer(3),
            Param::Big => integer(4),
            Param::Large => integer(5),
            Param::Float => match from {
                DataType::Float32 => Some(0),
                _ => None,
            },
            Param::Double => match from {
                DataType::Float64 => Some(0),
                DataType::Float32 => Some(1),
                _ if is_decimal(from) => Some(8),
                _ if integer_rank(from).is_some() => Some(9),
                _ if is_text(from) => Some(11),
                _ if is_date(from) => Some(30),
                _ => None,
            },
            Param::Decimal => match from {
                _ if is_decimal(from) => Some(0),
                _ if integer_rank(from).is_some() => Some(7),
                _ => None,
            },
            Param::Text => match from {
                _ if is_text(from) => Some(0),
                DataType::Binary => Some(5),
                _ => Some(16),
            },
            Param::Date => match from {
                DataType::Date32 => Some(0),
                _ if *from == DATETIME => Some(3),
                _ if is_text(from) => Some(5),
                _ if integer_rank(from).is_some() => Some(26),
                _ => None,
            },
            Param::DateTime => match from {
                _ if *from == DATETIME => Some(0),
                DataType::Date32 => Some(1),
                _ if is_text(from) => Some(4),
                _ if integer_rank(from).is_some() => Some(26),
                _ => None,
            },
            Param::Bytes => match from {
                DataType::Binary => Some(0),
                _ if is_text(from) => Some(6),
                _ => None,
            },
        }
    }
}

impl std::fmt::Debug for Builtin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Builtin({})", self.name)
    }
}

// The registry makes one of each name.
impl PartialEq for Builtin {
    fn eq(&self, other: &Builtin) -> bool {
        self.name == other.name && self.zone == other.zone
    }
}

impl Eq for Builtin {}

impl std::hash::Hash for Builtin {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.zone.hash(state);
    }
}

impl ScalarUDFImpl for Builtin {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let (overload, wanted) = self.resolve(types)?;
        overload.returns(&wanted)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types: Vec<DataType> = args.args.iter().map(ColumnarValue::data_type).collect();
        let (overload, wanted) = self.resolve(&types)?;
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let constant = constant && self.signature.volatility != Volatility::Volatile;
        let columns = args.args.iter().zip(&wanted).map(|(arg, ty)| Arg::new(arg, ty)).collect::<Result<Vec<_>>>()?;
        let returns = overload.returns(&wanted)?;
        let rows = if constant { 1 } else { args.number_rows };
        let zone = match &self.zone {
            Zone::Of(zone) => zone,
            _ => "UTC",
        };
        let call = Call { args: columns, rows, returns: &returns, zone, config: &args.config_options };
        let result = (overload.routine)(&call)?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

/// One argument: a column, or one value for all rows.
pub struct Arg {
    array: ArrayRef,
    constant: bool,
}

impl Arg {
    fn new(value: &ColumnarValue, ty: &DataType) -> Result<Arg> {
        let (array, constant) = match value {
            ColumnarValue::Array(array) => (array.clone(), false),
            ColumnarValue::Scalar(scalar) => (scalar.to_array()?, true),
        };
        Ok(Arg { array: cast_values(&array, ty)?, constant })
    }

    /// The column; one row when the argument is constant.
    pub fn array(&self) -> &ArrayRef {
        &self.array
    }

    /// Whether it is one value for all rows.
    pub fn is_constant(&self) -> bool {
        self.constant
    }

    fn at(&self, row: usize) -> usize {
        if self.constant { 0 } else { row }
    }
}

/// A call under way: arguments in the types of the overload's parameters.
pub struct Call<'a> {
    /// The arguments.
    pub args: Vec<Arg>,
    /// How many rows the result has.
    pub rows: usize,
    /// Its type.
    pub returns: &'a DataType,
    /// The session's time zone, for a function that asked for it.
    pub zone: &'a str,
    /// The options of the execution.
    pub config: &'a ConfigOptions,
}

/// Values of a primitive argument.
pub struct Values<'a, T: ArrowPrimitiveType> {
    array: &'a PrimitiveArray<T>,
    constant: bool,
}

impl<T: ArrowPrimitiveType> Values<'_, T> {
    /// The value of a row, none for NULL.
    pub fn get(&self, row: usize) -> Option<T::Native> {
        let row = if self.constant { 0 } else { row };
        self.array.is_valid(row).then(|| self.array.value(row))
    }
}

/// Values of a text argument.
pub struct Texts<'a> {
    array: &'a StringArray,
    constant: bool,
}

impl<'a> Texts<'a> {
    /// The value of a row, none for NULL.
    pub fn get(&self, row: usize) -> Option<&'a str> {
        let row = if self.constant { 0 } else { row };
        self.array.is_valid(row).then(|| self.array.value(row))
    }

    /// The one value of all rows, when there is one.
    pub fn constant(&self) -> Option<&'a str> {
        if self.constant { self.get(0) } else { None }
    }
}

impl Call<'_> {
    /// How many arguments.
    pub fn count(&self) -> usize {
        self.args.len()
    }

    /// A primitive argument.
    pub fn values<T: ArrowPrimitiveType>(&self, at: usize) -> Values<'_, T> {
        Values { array: self.args[at].array.as_primitive::<T>(), constant: self.args[at].constant }
    }

    /// A BIGINT argument.
    pub fn big(&self, at: usize) -> Values<'_, Int64Type> {
        self.values(at)
    }

    /// An INT argument.
    pub fn int(&self, at: usize) -> Values<'_, Int32Type> {
        self.values(at)
    }

    /// A DOUBLE argument.
    pub fn double(&self, at: usize) -> Values<'_, Float64Type> {
        self.values(at)
    }

    /// A DECIMAL argument.
    pub fn decimal(&self, at: usize) -> Values<'_, Decimal128Type> {
        self.values(at)
    }

    /// A DATE argument.
    pub fn date(&self, at: usize) -> Values<'_, Date32Type> {
        self.values(at)
    }

    /// A DATETIME argument.
    pub fn datetime(&self, at: usize) -> Values<'_, TimestampMicrosecondType> {
        self.values(at)
    }

    /// A text argument.
    pub fn text(&self, at: usize) -> Texts<'_> {
        Texts { array: self.args[at].array.as_string(), constant: self.args[at].constant }
    }

    /// A BOOLEAN argument.
    pub fn boolean(&self, at: usize) -> impl Fn(usize) -> Option<bool> + '_ {
        let (array, arg) = (self.args[at].array.as_boolean(), &self.args[at]);
        move |row| {
            let row = arg.at(row);
            array.is_valid(row).then(|| array.value(row))
        }
    }

    /// The result of a primitive type.
    pub fn make<T: ArrowPrimitiveType>(&self, one: impl Fn(usize) -> Option<T::Native>) -> Result<ArrayRef> {
        let array: PrimitiveArray<T> = (0..self.rows).map(one).collect();
        Ok(Arc::new(array.with_data_type(self.returns.clone())))
    }

    /// A BOOLEAN result.
    pub fn make_bool(&self, one: impl Fn(usize) -> Option<bool>) -> Result<ArrayRef> {
        Ok(Arc::new((0..self.rows).map(one).collect::<BooleanArray>()))
    }

    /// A text result.
    pub fn make_text<S: AsRef<str>>(&self, one: impl Fn(usize) -> Option<S>) -> Result<ArrayRef> {
        let mut builder = StringBuilder::with_capacity(self.rows, self.rows * 8);
        for row in 0..self.rows {
            builder.append_option(one(row));
        }
        Ok(Arc::new(builder.finish()))
    }

    /// A text result, each value written to a buffer; `one` says whether there is a value.
    pub fn write_text(&self, one: impl Fn(usize, &mut String) -> Option<()>) -> Result<ArrayRef> {
        let mut builder = StringBuilder::with_capacity(self.rows, self.rows * 16);
        let mut buffer = String::new();
        for row in 0..self.rows {
            buffer.clear();
            builder.append_option(one(row, &mut buffer).map(|()| buffer.as_str()));
        }
        Ok(Arc::new(builder.finish()))
    }
}

/// Return types by name.
pub mod returns {
    use super::{DATETIME, DataType, LARGEINT, Returns};

    pub const BOOL: Returns = Returns::Type(|| DataType::Boolean);
    pub const TINY: Returns = Returns::Type(|| DataType::Int8);
    pub const SMALL: Returns = Returns::Type(|| DataType::Int16);
    pub const INT: Returns = Returns::Type(|| DataType::Int32);
    pub const BIG: Returns = Returns::Type(|| DataType::Int64);
    pub const LARGE: Returns = Returns::Type(|| LARGEINT);
    pub const DOUBLE: Returns = Returns::Type(|| DataType::Float64);
    pub const TEXT: Returns = Returns::Type(|| DataType::Utf8);
    pub const DATE: Returns = Returns::Type(|| DataType::Date32);
    pub const MOMENT: Returns = Returns::Type(|| DATETIME);
    pub const FIRST: Returns = Returns::Argument(0);
}

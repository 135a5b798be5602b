//! Functions on numbers. DOUBLE functions give NULL where the result is no finite number.

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, i256,
};
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;

use super::builtin::Param::{Any, Big, Common, Decimal, Double, Float, Int, Large, Small, Text, Tiny};
use super::builtin::{Builtin, Call, Returns, returns};
use crate::types::arith::{Arith, divide_half_up};
use crate::types::cast_values;
use crate::types::coercion::{ArithOp, PRECISION_MAX};
use crate::types::parse::POW10;

/// All of them, under all their names.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let mut all = Vec::new();
    unary_doubles(&mut all);
    let mut add = |names: &[&'static str], make: fn(&'static str) -> Builtin| {
        all.extend(names.iter().map(|name| make(name).build()));
    };
    add(&["pi"], |n| {
        Builtin::new(n).on(&[], returns::DOUBLE, |c| c.make::<Float64Type>(|_| Some(std::f64::consts::PI)))
    });
    add(&["e"], |n| Builtin::new(n).on(&[], returns::DOUBLE, |c| c.make::<Float64Type>(|_| Some(std::f64::consts::E))));
    add(&["abs"], abs);
    add(&["sign"], |n| {
        Builtin::new(n).on(&[Double], Returns::Type(|| DataType::Float32), |c| {
            let x = c.double(0);
            c.make::<Float32Type>(|row| x.get(row).map(|x| if x == 0.0 { 0.0 } else { x.signum() as f32 }))
        })
    });
    add(&["ceil", "ceiling", "dceil"], |n| Builtin::new(n).on(&[Double], returns::BIG, |c| whole(c, f64::ceil)));
    add(&["floor", "dfloor"], |n| Builtin::new(n).on(&[Double], returns::BIG, |c| whole(c, f64::floor)));
    add(&["round", "dround"], |n| {
        Builtin::new(n)
            .on(&[Double], returns::BIG, |c| whole(c, f64::round))
            .on(&[Double, Int], returns::DOUBLE, |c| places(c, round_to))
            .on(&[Decimal], Returns::Computed(|_| Ok(DataType::Decimal128(PRECISION_MAX, 0))), round_decimal)
            .on(&[Decimal, Int], Returns::Computed(full_decimal), round_decimal)
    });
    add(&["truncate"], |n| {
        Builtin::new(n).on(&[Double, Int], returns::DOUBLE, |c| places(c, truncate_to)).on(
            &[Decimal, Int],
            Returns::Computed(full_decimal),
            truncate_decimal,
        )
    });
    add(&["pow", "power", "dpow", "fpow"], |n| {
        Builtin::new(n).on(&[Double, Double], returns::DOUBLE, |c| pair(c, |a, b| Some(a.powf(b))))
    });
    add(&["atan2"], |n| Builtin::new(n).on(&[Double, Double], returns::DOUBLE, |c| pair(c, |a, b| Some(a.atan2(b)))));
    add(&["fmod"], |n| {
        Builtin::new(n).on(&[Double, Double], returns::DOUBLE, |c| pair(c, |a, b| (b != 0.0).then(|| a % b)))
    });
    add(&["log"], |n| {
        Builtin::new(n)
            .on(&[Double, Double], returns::DOUBLE, |c| {
                pair(c, |b, x| (b > 0.0 && b != 1.0 && x > 0.0).then(|| x.ln() / b.ln()))
            })
            .on(&[Double], returns::DOUBLE, |c| double(c, |x| (x > 0.0).then(|| x.ln())))
    });
    add(&["pmod"], |n| {
        Builtin::new(n)
            .on(&[Big, Big], returns::BIG, pmod_big)
            .on(&[Double, Double], returns::DOUBLE, |c| pair(c, |a, b| (b != 0.0).then(|| ((a % b) + b) % b)))
    });
    add(&["greatest"], |n| Builtin::new(n).variadic(&[Common], returns::FIRST, |c| extreme(c, true)));
    add(&["least"], |n| Builtin::new(n).variadic(&[Common], returns::FIRST, |c| extreme(c, false)));
    add(&["rand", "random"], |n| {
        Builtin::new(n).on(&[], returns::DOUBLE, rand).on(&[Big], returns::DOUBLE, rand).volatile()
    });
    add(&["bin"], |n| {
        Builtin::new(n).on(&[Big], returns::TEXT, |c| {
            let x = c.big(0);
            c.make_text(|row| x.get(row).map(|x| format!("{x:b}")))
        })
    });
    add(&["conv"], |n| {
        Builtin::new(n).on(&[Text, Tiny, Tiny], returns::TEXT, conv).on(&[Big, Tiny, Tiny], returns::TEXT, conv)
    });
    add(&["__negative", "negative"], negative);
    add(&["positive"], |n| Builtin::new(n).on(&[Any], returns::FIRST, |c| cast_values(c.args[0].array(), c.returns)));
    add(&["bitnot"], |n| {
        Builtin::new(n)
            .on(&[Tiny], returns::TINY, |c| map_int::<Int8Type>(c, |x| !x))
            .on(&[Small], returns::SMALL, |c| map_int::<Int16Type>(c, |x| !x))
            .on(&[Int], returns::INT, |c| map_int::<Int32Type>(c, |x| !x))
            .on(&[Big], returns::BIG, |c| map_int::<Int64Type>(c, |x| !x))
    });
    for op in [
        ArithOp::Add,
        ArithOp::Subtract,
        ArithOp::Multiply,
        ArithOp::Divide,
        ArithOp::IntDivide,
        ArithOp::Modulo,
        ArithOp::BitAnd,
        ArithOp::BitOr,
        ArithOp::BitXor,
        ArithOp::ShiftLeft,
        ArithOp::ShiftRight,
        ArithOp::ShiftRightLogical,
    ] {
        all.push(Arith::function(op));
    }
    all
}

/// Functions of one DOUBLE; none is NULL.
fn unary_doubles(all: &mut Vec<ScalarUDF>) {
    macro_rules! unary {
        ($($($name:literal),+ => $one:expr;)+) => {$($(
            all.push(Builtin::new($name).on(&[Double], returns::DOUBLE, |c| double(c, $one)).build());
        )+)+};
    }
    unary! {
        "sin" => |x| Some(x.sin());
        "cos" => |x| Some(x.cos());
        "tan" => |x| Some(x.tan());
        "asin" => |x| Some(x.asin());
        "acos" => |x| Some(x.acos());
        "atan" => |x| Some(x.atan());
        "sinh" => |x| Some(x.sinh());
        "cosh" => |x| Some(x.cosh());
        "tanh" => |x| Some(x.tanh());
        "cot" => |x| (x.tan() != 0.0).then(|| 1.0 / x.tan());
        "ln", "dlog1" => |x| (x > 0.0).then(|| x.ln());
        "log2" => |x| (x > 0.0).then(|| x.log2());
        "log10", "dlog10" => |x| (x > 0.0).then(|| x.log10());
        "exp", "dexp" => |x| Some(x.exp());
        "sqrt", "dsqrt" => |x| (x >= 0.0).then(|| x.sqrt());
        "cbrt" => |x| Some(x.cbrt());
        "square" => |x| Some(x * x);
        "radians" => |x| Some(x.to_radians());
        "degrees" => |x| Some(x.to_degrees());
    }
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

fn double(call: &Call<'_>, one: fn(f64) -> Option<f64>) -> Result<ArrayRef> {
    let x = call.double(0);
    call.make::<Float64Type>(|row| one(x.get(row)?).and_then(finite))
}

fn pair(call: &Call<'_>, one: fn(f64, f64) -> Option<f64>) -> Result<ArrayRef> {
    let (a, b) = (call.double(0), call.double(1));
    call.make::<Float64Type>(|row| one(a.get(row)?, b.get(row)?).and_then(finite))
}

fn whole(call: &Call<'_>, one: fn(f64) -> f64) -> Result<ArrayRef> {
    let x = call.double(0);
    call.make::<Int64Type>(|row| {
        let value = one(x.get(row)?);
        (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value).then_some(value as i64)
    })
}

fn places(call: &Call<'_>, one: fn(f64, i32) -> f64) -> Result<ArrayRef> {
    let (x, n) = (call.double(0), call.int(1));
    call.make::<Float64Type>(|row| finite(one(x.get(row)?, n.get(row)?)))
}

/// Rounds half away from zero at a decimal place: by the shortest decimal text, so that 1.005 is not 1.00499...
fn round_to(x: f64, places: i32) -> f64 {
    let places = places.clamp(-400, 400);
    let factor = 10f64.powi(places.abs());
    let scaled = if places >= 0 { x * factor } else { x / factor };
    if !scaled.is_finite() || scaled.abs() > 1e15 {
        return if places >= 0 { x } else { 0.0 };
    }
    // A product within one part in 2^51 of a half was a half before it was represented in binary.
    let nearest = scaled.trunc() + 0.5f64.copysign(scaled);
    let tie = (scaled - nearest).abs() <= scaled.abs() * f64::EPSILON;
    let rounded = if tie { scaled.trunc() + 1f64.copysign(scaled) } else { scaled.round() };
    if places >= 0 { rounded / factor } else { rounded * factor }
}

fn truncate_to(x: f64, places: i32) -> f64 {
    let places = places.clamp(-400, 400);
    let factor = 10f64.powi(places.abs());
    let scaled = if places >= 0 { x * factor } else { x / factor };
    if !scaled.is_finite() || scaled.abs() > 1e15 {
        return if places >= 0 { x } else { 0.0 };
    }
    let cut =
        if (scaled.round() - scaled).abs() <= scaled.abs() * f64::EPSILON { scaled.round() } else { scaled.trunc() };
    if places >= 0 { cut / factor } else { cut * factor }
}

/// DECIMAL(38, s): rounding to places changes the value, not the scale.
fn full_decimal(types: &[DataType]) -> Result<DataType> {
    Ok(DataType::Decimal128(PRECISION_MAX, scale_of(&types[0])))
}

fn scale_of(ty: &DataType) -> i8 {
    if let DataType::Decimal128(_, scale) = ty { *scale } else { 0 }
}

/// Another scale, rounded half away from zero; none past 38 digits.
pub(super) fn rescaled(value: i128, from: i8, to: i8) -> Option<i128> {
    if to >= from {
        return value.checked_mul(*POW10.get((to - from) as usize)?).filter(|v| v.unsigned_abs() < POW10[38] as u128);
    }
    match POW10.get((from - to) as usize) {
        Some(power) => divide_half_up(value, *power),
        None => Some(0),
    }
}

fn round_decimal(call: &Call<'_>) -> Result<ArrayRef> {
    let x = call.decimal(0);
    let from = scale_of(call.args[0].array().data_type());
    let result = scale_of(call.returns);
    let n = (call.count() == 2).then(|| call.int(1));
    call.make::<Decimal128Type>(|row| {
        let value = x.get(row)?;
        let n = match &n {
            Some(n) => n.get(row)?.clamp(-38, i32::from(from)) as i8,
            None => 0,
        };
        rescaled(rescaled(value, from, n)?, n, result)
    })
}

fn truncate_decimal(call: &Call<'_>) -> Result<ArrayRef> {
    let (x, n) = (call.decimal(0), call.int(1));
    let scale = scale_of(call.args[0].array().data_type());
    call.make::<Decimal128Type>(|row| {
        let drop = i32::from(scale) - n.get(row)?.clamp(-38, i32::from(scale));
        let value = x.get(row)?;
        Some(POW10.get(drop as usize).map_or(0, |power| value - value % power))
    })
}

fn pmod_big(call: &Call<'_>) -> Result<ArrayRef> {
    let (a, b) = (call.big(0), call.big(1));
    call.make::<Int64Type>(|row| {
        let (a, b) = (a.get(row)?, b.get(row)?);
        (b != 0).then(|| a.wrapping_rem(b).wrapping_add(b).wrapping_rem(b))
    })
}

/// One step wider, so that the least value has a counterpart.
fn abs(name: &'static str) -> Builtin {
    Builtin::new(name)
        .on(&[Tiny], returns::SMALL, |c| {
            let x = c.values::<Int8Type>(0);
            c.make::<Int16Type>(|row| x.get(row).map(|x| i16::from(x).abs()))
        })
        .on(&[Small], returns::INT, |c| {
            let x = c.values::<Int16Type>(0);
            c.make::<Int32Type>(|row| x.get(row).map(|x| i32::from(x).abs()))
        })
        .on(&[Int], returns::BIG, |c| {
            let x = c.int(0);
            c.make::<Int64Type>(|row| x.get(row).map(|x| i64::from(x).abs()))
        })
        .on(&[Big], returns::LARGE, |c| {
            let x = c.big(0);
            c.make::<Decimal256Type>(|row| x.get(row).map(|x| i256::from_i128(i128::from(x).abs())))
        })
        .on(&[Large], returns::LARGE, |c| {
            let x = c.values::<Decimal256Type>(0);
            c.make::<Decimal256Type>(|row| x.get(row).map(|x| i256::from_i128(x.as_i128().wrapping_abs())))
        })
        .on(&[Float], returns::FIRST, |c| {
            let x = c.values::<Float32Type>(0);
            c.make::<Float32Type>(|row| x.get(row).map(f32::abs))
        })
        .on(&[Double], returns::DOUBLE, |c| double(c, |x| Some(x.abs())))
        .on(&[Decimal], returns::FIRST, |c| {
            let x = c.decimal(0);
            c.make::<Decimal128Type>(|row| x.get(row).map(i128::abs))
        })
}

/// Minus before what is no literal: integers are multiplied by -1, so they widen.
fn negative(name: &'static str) -> Builtin {
    Builtin::new(name)
        .on(&[Tiny], returns::SMALL, |c| {
            let x = c.values::<Int8Type>(0);
            c.make::<Int16Type>(|row| x.get(row).map(|x| -i16::from(x)))
        })
        .on(&[Small], returns::INT, |c| {
            let x = c.values::<Int16Type>(0);
            c.make::<Int32Type>(|row| x.get(row).map(|x| -i32::from(x)))
        })
        .on(&[Int], returns::BIG, |c| {
            let x = c.int(0);
            c.make::<Int64Type>(|row| x.get(row).map(|x| -i64::from(x)))
        })
        .on(&[Big], returns::BIG, |c| map_int::<Int64Type>(c, i64::wrapping_neg))
        .on(&[Large], returns::LARGE, |c| {
            let x = c.values::<Decimal256Type>(0);
            c.make::<Decimal256Type>(|row| x.get(row).map(|x| i256::from_i128(x.as_i128().wrapping_neg())))
        })
        .on(&[Double], returns::DOUBLE, |c| double(c, |x| Some(-x)))
        .on(&[Decimal], returns::FIRST, |c| {
            let x = c.decimal(0);
            c.make::<Decimal128Type>(|row| x.get(row).map(|x| -x))
        })
}

fn map_int<T: datafusion::arrow::array::types::ArrowPrimitiveType>(
    call: &Call<'_>,
    one: fn(T::Native) -> T::Native,
) -> Result<ArrayRef> {
    let x = call.values::<T>(0);
    call.make::<T>(|row| x.get(row).map(one))
}

/// The greatest or least argument; NULL when one is NULL.
fn extreme(call: &Call<'_>, greatest: bool) -> Result<ArrayRef> {
    use datafusion::arrow::array::{Array, BooleanArray};
    use datafusion::arrow::compute::kernels::{cmp, zip::zip};
    let full = |at: usize| -> Result<ArrayRef> {
        let arg = &call.args[at];
        if !arg.is_constant() || call.rows == 1 {
            return Ok(arg.array().clone());
        }
        datafusion::common::ScalarValue::try_from_array(arg.array(), 0)?.to_array_of_size(call.rows)
    };
    let mut best = full(0)?;
    for at in 1..call.count() {
        let other = full(at)?;
        let better = if greatest { cmp::gt(&other, &best)? } else { cmp::lt(&other, &best)? };
        // Where either is NULL so is the comparison: take the one that is NULL.
        let choose: BooleanArray = (0..call.rows)
            .map(|row| Some(if better.is_null(row) { other.is_null(row) } else { better.value(row) }))
            .collect();
        best = zip(&choose, &other, &best)?;
    }
    Ok(best)
}

/// Uniform in [0, 1), by splitmix64 over a seed of the clock (or the argument) and the row.
fn rand(call: &Call<'_>) -> Result<ArrayRef> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static STATE: AtomicU64 = AtomicU64::new(0);
    let seed = match call.count() {
        0 => {
            let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            let clock = clock.map_or(0, |since| since.as_nanos() as u64);
            // Relaxed: only distinct values matter.
            clock ^ STATE.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed)
        }
        _ => call.big(0).get(0).unwrap_or(0) as u64,
    };
    call.make::<Float64Type>(|row| {
        let mut z = seed.wrapping_add((row as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Some(((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64)
    })
}

/// `conv(n, from, to)`: unsigned unless a base is negative.
fn conv(call: &Call<'_>) -> Result<ArrayRef> {
    let numbers = cast_values(call.args[0].array(), &DataType::Utf8)?;
    let numbers = datafusion::arrow::array::cast::AsArray::as_string::<i32>(&numbers).clone();
    let (from, to) = (call.values::<Int8Type>(1), call.values::<Int8Type>(2));
    let constant = call.args[0].is_constant();
    call.make_text(|row| {
        let (from, to) = (from.get(row)?, to.get(row)?);
        let at = if constant { 0 } else { row };
        use datafusion::arrow::array::Array;
        if numbers.is_null(at) || !(2..=36).contains(&from.unsigned_abs()) || !(2..=36).contains(&to.unsigned_abs()) {
            return None;
        }
        let text = numbers.value(at).trim();
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let base = u32::from(from.unsigned_abs());
        let value = digits
            .chars()
            .map_while(|c| c.to_digit(base))
            .fold(0u64, |value, digit| value.saturating_mul(u64::from(base)).saturating_add(u64::from(digit)));
        let value = if negative { value.wrapping_neg() } else { value };
        let minus = to < 0 && (value as i64) < 0;
        let mut rest = if minus { value.wrapping_neg() } else { value };
        let mut out = Vec::new();
        loop {
            let digit = char::from_digit((rest % u64::from(to.unsigned_abs())) as u32, 36)?;
            out.push(digit.to_ascii_uppercase());
            rest /= u64::from(to.unsigned_abs());
            if rest == 0 {
                break;
            }
        }
        if minus {
            out.push('-');
        }
        Some(out.iter().rev().collect::<String>())
    })
}

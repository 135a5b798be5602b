//! Digests, encodings, regular expressions, identifiers.

use std::fmt::Write;
use std::sync::Arc;

use datafusion::arrow::array::cast::AsArray;
use datafusion::arrow::array::{Array, ArrayRef, StringArray};
use datafusion::arrow::compute::kernels::regexp::{regexp_is_match, regexp_is_match_scalar, regexp_match};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::functions::regex;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};
use md5::Md5;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use super::builtin::Param::{Big, Bytes, Int, Text};
use super::builtin::{Builtin, Call, returns};
use super::string::BYTES_MAX;
use crate::types::cast_values;

/// All of them, under all their names.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let mut all = Vec::new();
    let mut add = |names: &[&'static str], make: fn(&'static str) -> Builtin| {
        all.extend(names.iter().map(|name| make(name).build()));
    };
    add(&["hex"], |n| {
        Builtin::new(n)
            .on(&[Big], returns::TEXT, |c| {
                let x = c.big(0);
                c.make_text(|row| x.get(row).map(|x| format!("{x:X}")))
            })
            .on(&[Text], returns::TEXT, |c| {
                let s = c.text(0);
                c.make_text(|row| s.get(row).filter(|s| s.len() <= BYTES_MAX / 2).map(|s| hex(s.as_bytes(), true)))
            })
            .on(&[Bytes], returns::TEXT, |c| {
                let bytes = c.args[0].array().as_binary::<i32>().clone();
                let constant = c.args[0].is_constant();
                c.make_text(|row| {
                    let row = if constant { 0 } else { row };
                    let fits = bytes.is_valid(row) && bytes.value(row).len() <= BYTES_MAX / 2;
                    fits.then(|| hex(bytes.value(row), true))
                })
            })
    });
    add(&["unhex", "hex_decode_string"], |n| {
        Builtin::new(n).on(&[Text], returns::TEXT, |c| {
            let s = c.text(0);
            c.make_text(|row| String::from_utf8(unhex(s.get(row)?)?).ok())
        })
    });
    add(&["md5"], |n| {
        Builtin::new(n).on(&[Text], returns::TEXT, |c| {
            let s = c.text(0);
            c.make_text(|row| Some(digest::<Md5>(s.get(row)?)))
        })
    });
    add(&["sha2"], |n| Builtin::new(n).on(&[Text, Int], returns::TEXT, sha2));
    add(&["crc32"], |n| {
        Builtin::new(n).on(&[Text], returns::BIG, |c| {
            let s = c.text(0);
            c.make::<Int64Type>(|row| Some(i64::from(crc32(s.get(row)?.as_bytes()))))
        })
    });
    add(&["to_base64"], |n| {
        Builtin::new(n).on(&[Text], returns::TEXT, |c| {
            let s = c.text(0);
            c.make_text(|row| {
                let fits = |s: &&str| !s.is_empty() && s.len() <= BYTES_MAX / 4 * 3;
                s.get(row).filter(fits).map(|s| base64(s.as_bytes()))
            })
        })
    });
    add(&["from_base64"], |n| {
        Builtin::new(n).on(&[Text], returns::TEXT, |c| {
            let s = c.text(0);
            c.make_text(|row| String::from_utf8(unbase64(s.get(row)?)?).ok())
        })
    });
    add(&["regexp", "__regexp"], |n| Builtin::new(n).on(&[Text, Text], returns::BOOL, matches));
    add(&["regexp_extract"], |n| Builtin::new(n).on(&[Text, Text, Big], returns::TEXT, extract));
    add(&["regexp_replace"], |n| {
        Builtin::new(n).on(&[Text, Text, Text], returns::TEXT, |c| {
            let mut args = c.texts()?;
            args.push(ColumnarValue::Scalar(ScalarValue::Utf8(Some("g".into()))));
            delegate(c, &regex::regexp_replace(), args)
        })
    });
    add(&["uuid"], |n| Builtin::new(n).on(&[], returns::TEXT, uuid).volatile());
    all
}

impl Call<'_> {
    /// All arguments, texts, as DataFusion passes them.
    fn texts(&self) -> Result<Vec<ColumnarValue>> {
        let value = |arg: &super::builtin::Arg| {
            Ok(if arg.is_constant() {
                ColumnarValue::Scalar(ScalarValue::try_from_array(arg.array(), 0)?)
            } else {
                ColumnarValue::Array(arg.array().clone())
            })
        };
        self.args.iter().map(value).collect()
    }
}

/// Calls a function of DataFusion's over text.
fn delegate(call: &Call<'_>, function: &ScalarUDF, args: Vec<ColumnarValue>) -> Result<ArrayRef> {
    let field = |arg: &ColumnarValue| Arc::new(Field::new("", arg.data_type(), true));
    let types: Vec<DataType> = args.iter().map(ColumnarValue::data_type).collect();
    let result = function.invoke_with_args(ScalarFunctionArgs {
        arg_fields: args.iter().map(field).collect(),
        args,
        number_rows: call.rows,
        return_field: Arc::new(Field::new("", function.return_type(&types)?, true)),
        config_options: Arc::new(call.config.clone()),
    })?;
    cast_values(&result.into_array(call.rows)?, &DataType::Utf8)
}

/// NULL for a length that SHA-2 does not have; 0 means 256.
fn sha2(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, bits) = (call.text(0), call.int(1));
    call.make_text(|row| {
        let text = text.get(row)?;
        match bits.get(row)? {
            224 => Some(digest::<Sha224>(text)),
            0 | 256 => Some(digest::<Sha256>(text)),
            384 => Some(digest::<Sha384>(text)),
            512 => Some(digest::<Sha512>(text)),
            _ => None,
        }
    })
}

/// As lower-case hexadecimal text.
fn digest<D: Digest>(text: &str) -> String {
    hex(&D::digest(text.as_bytes()), false)
}

fn hex(bytes: &[u8], upper: bool) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = if upper { write!(out, "{byte:02X}") } else { write!(out, "{byte:02x}") };
        out
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] * 16 + pair[1]).collect())
}

/// CRC-32 of ISO-HDLC, as MySQL's.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = (0..3).fold(0u32, |word, at| word << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let digit = BASE64[(word >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim().as_bytes();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let data = text.len() - text.iter().rev().take(2).take_while(|b| **b == b'=').count();
    let mut out = Vec::with_capacity(data * 3 / 4);
    for chunk in text[..data].chunks(4) {
        let mut word = 0u32;
        for at in 0..4 {
            let digit = match chunk.get(at) {
                Some(byte) => BASE64.iter().position(|b| b == byte)? as u32,
                None => 0,
            };
            word = word << 6 | digit;
        }
        out.extend_from_slice(&word.to_be_bytes()[1..chunk.len()]);
    }
    Some(out)
}

/// A text argument with one value for each row.
fn column(call: &Call<'_>, at: usize) -> Result<ArrayRef> {
    let arg = &call.args[at];
    if arg.is_constant() {
        return ScalarValue::try_from_array(arg.array(), 0)?.to_array_of_size(call.rows);
    }
    Ok(arg.array().clone())
}

/// Partial match.
fn matches(call: &Call<'_>) -> Result<ArrayRef> {
    let values = column(call, 0)?;
    let result = match (call.text(1).constant(), call.args[1].is_constant()) {
        (Some(pattern), _) => regexp_is_match_scalar(values.as_string::<i32>(), pattern, None),
        (None, true) => return call.make_bool(|_| None),
        (None, false) => {
            let flags = None::<&StringArray>;
            regexp_is_match(values.as_string::<i32>(), call.args[1].array().as_string::<i32>(), flags)
        }
    };
    Ok(Arc::new(result.map_err(|error| DataFusionError::Plan(format!("bad regular expression: {error}")))?))
}

/// The group of the first match; '' where there is none.
fn extract(call: &Call<'_>) -> Result<ArrayRef> {
    let values = column(call, 0)?;
    // Another group around all makes group 0 the first.
    let pattern = call.text(1);
    let patterns: StringArray = (0..call.rows).map(|row| pattern.get(row).map(|p| format!("({p})"))).collect();
    let found = regexp_match(values.as_string::<i32>(), &patterns, None)
        .map_err(|error| DataFusionError::Plan(format!("bad regular expression: {error}")))?;
    let (found, group) = (found.as_list::<i32>(), call.big(2));
    let strings = values.as_string::<i32>();
    let rows: Vec<Option<String>> = (0..call.rows)
        .map(|row| {
            let group = usize::try_from(group.get(row)?).ok();
            if strings.is_null(row) || pattern.get(row).is_none() {
                return None;
            }
            if found.is_null(row) {
                return Some(String::new());
            }
            let groups = found.value(row);
            let groups = groups.as_string::<i32>();
            let text = group.filter(|group| *group < groups.len() && groups.is_valid(*group));
            Some(text.map_or_else(String::new, |group| groups.value(group).to_string()))
        })
        .collect();
    call.make_text(|row| rows[row].as_deref())
}

/// A random UUID (version 4).
fn uuid(call: &Call<'_>) -> Result<ArrayRef> {
    call.make_text(|_| {
        let mut state = std::collections::hash_map::RandomState::new();
        let mut half = || {
            use std::hash::{BuildHasher, Hasher};
            let value = state.build_hasher().finish();
            state = std::collections::hash_map::RandomState::new();
            value
        };
        let bits = (u128::from(half()) << 64 | u128::from(half())) & !(0xF << 76) & !(0x3 << 62) | 4 << 76 | 2 << 62;
        let hex = format!("{bits:032x}");
        Some([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
    })
}

//! JSON: objects one after the other (a line each, or not), or one array of them. A key fills the column of its name, whatever its
//! case; a column without a key takes its default; other keys are passed over.
//!
//! Input comes in chunks cut anywhere: a scanner that knows strings and depth finds where an object ends, and `sonic-rs` reads the
//! whole object lazily, so that values nobody asked for are skipped and numbers keep their digits.

use std::borrow::Cow;
use std::sync::Arc;

use sonic_rs::{JsonValueTrait, LazyValue, to_object_iter};
use starling_storage::schema::TabletSchema;

use super::batch::RowBuilder;
use super::csv::Step;
use super::rejects::{ROW_BYTES_MAX, Rejects};
use super::target::{Slot, Target, is_delete};

/// An object longer than this fails the load.
const OBJECT_BYTES_MAX: usize = 16 << 20;

/// Where the scanner is.
#[derive(Clone, Copy, Debug, Default)]
struct Scan {
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// Bytes of `rest` looked at.
    at: usize,
}

/// Turns chunks into rows.
pub struct JsonReader {
    schema: Arc<TabletSchema>,
    target: Target,
    builder: RowBuilder,
    array: bool,
    array_open: bool,
    /// The begin of something that is no object, while its end has not come yet.
    garbage: Option<Vec<u8>>,
    rest: Vec<u8>,
    scan: Scan,
    /// Rejected rows.
    pub rejects: Rejects,
}

impl JsonReader {
    /// For one load.
    pub fn new(
        schema: &Arc<TabletSchema>,
        strip_outer_array: bool,
        target: Target,
        strict: bool,
        now: &str,
    ) -> JsonReader {
        JsonReader {
            schema: schema.clone(),
            builder: RowBuilder::new(schema, &target, strict, now),
            target,
            array: strip_outer_array,
            array_open: false,
            garbage: None,
            rest: Vec::new(),
            scan: Scan::default(),
            rejects: Rejects::default(),
        }
    }

    /// The rows being built.
    pub fn builder(&mut self) -> &mut RowBuilder {
        &mut self.builder
    }

    /// Parses `chunk` after what is left of the ones before. An error fails the load.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<Step, String> {
        self.rest.extend_from_slice(chunk);
        let buffer = std::mem::take(&mut self.rest);
        let (mut start, mut step) = (0, Step::Hungry);
        loop {
            if self.scan.depth == 0 {
                start = self.between(&buffer, start)?;
            }
            let Some(end) = self.object_end(&buffer) else { break };
            self.object(&buffer[start..end]);
            start = end;
            if self.builder.is_full() {
                step = Step::Full;
                break;
            }
        }
        self.scan.at -= start;
        self.rest = buffer;
        self.rest.drain(..start);
        if step == Step::Hungry && self.rest.len() > OBJECT_BYTES_MAX {
            return Err(format!("a JSON object is longer than {OBJECT_BYTES_MAX} bytes"));
        }
        Ok(step)
    }

    /// The body has ended: what is left is half an object, or half an array.
    pub fn finish(&mut self) {
        self.reject_garbage();
        let last = std::mem::take(&mut self.rest);
        if !last.trim_ascii().is_empty() {
            self.rejects.add("Incomplete JSON object at the end of the body", &last);
        } else if self.array_open {
            self.rejects.add("Incomplete JSON: the array is not closed, its end seems to be missing", b"");
        }
    }

    /// Passes over what may stand between objects; returns where the next one starts.
    fn between(&mut self, bytes: &[u8], start: usize) -> Result<usize, String> {
        let mut at = start.max(self.scan.at);
        while at < bytes.len() && (self.garbage.is_some() || bytes[at] != b'{') {
            match bytes[at] {
                _ if self.garbage.is_some() => {
                    at = self.pass_garbage(bytes, at);
                    continue;
                }
                b' ' | b'\t' | b'\r' | b'\n' => {}
                b'[' if self.array && !self.array_open => self.array_open = true,
                b'[' if !self.array => {
                    return Err(
                        "The value is array type in json document stream, you can set strip_outer_array=true to parse \
                         each element of the array as individual rows"
                            .into(),
                    );
                }
                b',' if self.array_open => {}
                b']' if self.array_open => self.array_open = false,
                byte => self.garbage = Some(vec![byte]),
            }
            at += 1;
        }
        if at < bytes.len() && self.array && !self.array_open {
            return Err("The value should be array type in json document stream when strip_outer_array=true".into());
        }
        self.scan.at = at;
        Ok(at)
    }

    /// Passes over what is no object: to the end of its line, in an array to the end of the element. Returns where that is.
    fn pass_garbage(&mut self, bytes: &[u8], at: usize) -> usize {
        let is_end = |byte: &u8| *byte == b'\n' || (self.array_open && matches!(byte, b',' | b']' | b'{'));
        let len = bytes[at..].iter().position(is_end);
        let end = len.map_or(bytes.len(), |len| at + len);
        if let Some(garbage) = &mut self.garbage {
            let room = ROW_BYTES_MAX.saturating_sub(garbage.len());
            garbage.extend_from_slice(&bytes[at..end][..room.min(end - at)]);
        }
        if len.is_some() {
            self.reject_garbage();
        }
        end
    }

    fn reject_garbage(&mut self) {
        if let Some(garbage) = self.garbage.take() {
            self.rejects.add("Not a JSON object", &garbage);
        }
    }

    /// Scans on to the end of the object that has begun; `None`: more input is needed.
    fn object_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let scan = &mut self.scan;
        while scan.at < bytes.len() {
            let byte = bytes[scan.at];
            scan.at += 1;
            if scan.escaped {
                scan.escaped = false;
            } else if scan.in_string {
                match byte {
                    b'\\' => scan.escaped = true,
                    b'"' => scan.in_string = false,
                    _ => {
                        // Most of a string is neither: jump.
                        let skip = memchr::memchr2(b'"', b'\\', &bytes[scan.at..]);
                        scan.at = skip.map_or(bytes.len(), |n| scan.at + n);
                    }
                }
            } else {
                match byte {
                    b'"' => scan.in_string = true,
                    b'{' | b'[' => scan.depth += 1,
                    b'}' | b']' => {
                        scan.depth = scan.depth.saturating_sub(1);
                        if scan.depth == 0 {
                            return Some(scan.at);
                        }
                    }
                    _ => {}
                }
            }
        }
        None
    }

    fn object(&mut self, bytes: &[u8]) {
        if let Err(reason) = self.row(bytes) {
            self.builder.reject_row();
            self.rejects.add(&reason, bytes);
        }
    }

    fn row(&mut self, bytes: &[u8]) -> Result<(), String> {
        let count = self.target.fields.len();
        let mut values: Vec<Option<LazyValue<'_>>> = (0..count).map(|_| None).collect();
        let mut guess = 0;
        for entry in to_object_iter(bytes) {
            let (key, value) = entry.map_err(|e| format!("Malformed JSON: {}", first_line(&e.to_string())))?;
            if let Some(field) = self.field(&key, guess) {
                values[field] = Some(value);
                guess = field + 1;
            }
        }
        let mut delete = false;
        for (i, value) in values.iter().enumerate() {
            if let (Slot::Op, Some(value)) = (self.target.fields[i].1, value) {
                let text = text_of(value, false);
                delete = is_delete(text.as_deref().unwrap_or_default())
                    .ok_or_else(|| format!("Invalid __op {}; 0 or upsert, 1 or delete", value.as_raw_str()))?;
            }
        }
        for (i, value) in values.iter().enumerate() {
            let Slot::Column(column) = self.target.fields[i].1 else { continue };
            match value {
                None => self.builder.push_missing(column, delete)?,
                Some(value) => {
                    let is_string = self.schema.columns[column].ty.is_string();
                    self.builder.push(column, text_of(value, is_string).as_deref(), delete)?;
                }
            }
        }
        self.builder.end_row(delete)
    }

    /// The field of a key. Objects of one load mostly have one order of keys, so the next field is tried first.
    fn field(&self, key: &str, guess: usize) -> Option<usize> {
        let fields = &self.target.fields;
        match fields.get(guess) {
            Some((name, _)) if name == key => Some(guess),
            _ => fields.iter().position(|(name, _)| name.eq_ignore_ascii_case(key)),
        }
    }
}

/// A value as text for a column; `None`: NULL. Objects and arrays keep their JSON text.
fn text_of<'v>(value: &'v LazyValue<'_>, for_string: bool) -> Option<Cow<'v, [u8]>> {
    if value.is_null() {
        return None;
    }
    if value.is_str() {
        return value.as_str().map(|text| Cow::Borrowed(text.as_bytes()));
    }
    Some(Cow::Borrowed(match value.as_raw_str().as_bytes() {
        b"true" if !for_string => b"1",
        b"false" if !for_string => b"0",
        raw => raw,
    }))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

//! Reading a page: any range of rows, or single rows without unpacking a vector. The structure of the page is checked
//! when it is opened, every offset and code when it is used.

use super::output::{ColumnOutput, EncodedColumn, OutputValues, TextOutput};
use super::packed::Packed;
use super::page::{Damage, Header, Sections};
use super::text::Text;
use super::word::Word;
use super::{Encoding, Physical, VECTOR_ROWS};
use arrow::buffer::NullBuffer;
use std::ops::Range;

/// From so many rows of one vector on, `take` unpacks the vector instead of each value.
const UNPACK_ROWS_MIN: usize = 64;

/// A page opened for reading.
pub struct PageReader<'a> {
    header: Header,
    /// Validity bitmap, when there are NULLs.
    valid: Option<&'a [u8]>,
    body: Body<'a>,
}

enum Body<'a> {
    Word8(Words<'a, u8>),
    Word16(Words<'a, u16>),
    Word32(Words<'a, u32>),
    Word64(Words<'a, u64>),
    Word128(Words<'a, u128>),
    Text(Texts<'a>),
}

impl<'a> PageReader<'a> {
    /// Opens a page of `rows` rows of `physical` values; both come from the footer. The bytes are [`super::aligned`].
    pub fn open(page: &'a [u8], physical: Physical, rows: usize) -> Result<PageReader<'a>, Damage> {
        let (header, mut sections) = Header::parse(page)?;
        if header.physical != physical || header.rows != rows {
            let found = format!("{} rows of {:?}", header.rows, header.physical);
            return Err(Damage::new(0, format!("{rows} rows of {physical:?}"), found));
        }
        let valid = if header.nulls > 0 { Some(sections.take(rows.div_ceil(8))?) } else { None };
        let body = match physical {
            Physical::Word8 => Body::Word8(Words::parse(&header, sections)?),
            Physical::Word16 => Body::Word16(Words::parse(&header, sections)?),
            Physical::Word32 => Body::Word32(Words::parse(&header, sections)?),
            Physical::Word64 => Body::Word64(Words::parse(&header, sections)?),
            Physical::Word128 => Body::Word128(Words::parse(&header, sections)?),
            Physical::Text => Body::Text(Texts::parse(&header, sections)?),
        };
        Ok(PageReader { header, valid, body })
    }

    /// How its values are encoded.
    pub fn encoding(&self) -> Encoding {
        self.header.encoding
    }

    /// How many of its rows are NULL.
    pub fn nulls(&self) -> usize {
        self.header.nulls
    }

    fn check(&self, rows: &Range<usize>) -> Result<(), Damage> {
        if rows.start > rows.end || rows.end > self.header.rows {
            return Err(Damage::new(4, format!("rows {rows:?}"), format!("{} rows", self.header.rows)));
        }
        Ok(())
    }

    /// Appends rows (counted within the page) to an output of the same physical type.
    pub fn decode(&self, rows: Range<usize>, out: &mut ColumnOutput) -> Result<(), Damage> {
        self.check(&rows)?;
        match (&self.body, &mut out.values) {
            (Body::Word8(body), OutputValues::Word8(out)) => body.decode(&rows, out)?,
            (Body::Word16(body), OutputValues::Word16(out)) => body.decode(&rows, out)?,
            (Body::Word32(body), OutputValues::Word32(out)) => body.decode(&rows, out)?,
            (Body::Word64(body), OutputValues::Word64(out)) => body.decode(&rows, out)?,
            (Body::Word128(body), OutputValues::Word128(out)) => body.decode(&rows, out)?,
            (Body::Text(body), OutputValues::Text(out)) => body.decode(&rows, out)?,
            _ => return Err(self.other_type()),
        }
        out.append_validity(self.valid, rows.start, rows.len());
        Ok(())
    }

    /// Appends single rows, ascending and counted from `first` less than in the page.
    pub fn take(&self, rows: &[u32], first: u32, out: &mut ColumnOutput) -> Result<(), Damage> {
        let mut at = 0;
        while at < rows.len() {
            let Some(row) = rows[at].checked_sub(first).map(|row| row as usize) else {
                return Err(Damage::new(4, format!("rows from {first} on"), rows[at]));
            };
            let vector_end = first as u64 + (row / VECTOR_ROWS * VECTOR_ROWS + VECTOR_ROWS) as u64;
            let count = rows[at..].partition_point(|&row| u64::from(row) < vector_end).max(1);
            let batch = &rows[at..at + count];
            let (low, high) = (row, (batch[count - 1] - first) as usize + 1);
            self.check(&(low..high))?;
            if count >= UNPACK_ROWS_MIN && batch.is_sorted_by(|a, b| a + 1 == *b) {
                self.decode(low..high, out)?;
            } else {
                self.take_of_vector(batch, first, out)?;
            }
            at += count;
        }
        Ok(())
    }

    /// Appends rows of one vector; they have been checked.
    fn take_of_vector(&self, rows: &[u32], first: u32, out: &mut ColumnOutput) -> Result<(), Damage> {
        let rows = rows.iter().map(|&row| (row - first) as usize);
        match (&self.body, &mut out.values) {
            (Body::Word8(body), OutputValues::Word8(out)) => body.take(rows.clone(), out)?,
            (Body::Word16(body), OutputValues::Word16(out)) => body.take(rows.clone(), out)?,
            (Body::Word32(body), OutputValues::Word32(out)) => body.take(rows.clone(), out)?,
            (Body::Word64(body), OutputValues::Word64(out)) => body.take(rows.clone(), out)?,
            (Body::Word128(body), OutputValues::Word128(out)) => body.take(rows.clone(), out)?,
            (Body::Text(body), OutputValues::Text(out)) => {
                rows.clone().try_for_each(|row| body.get(row).map(|text| out.push(text)))?;
            }
            _ => return Err(self.other_type()),
        }
        rows.for_each(|row| out.append_validity(self.valid, row, 1));
        Ok(())
    }

    /// Codes and values of a dictionary page; `None` for another encoding. `values` becomes the distinct values.
    pub fn dictionary(&self, rows: Range<usize>, values: &mut ColumnOutput) -> Result<Option<Codes>, Damage> {
        self.check(&rows)?;
        let codes = match (&self.body, &mut values.values) {
            (Body::Word16(body), OutputValues::Word16(out)) => body.dictionary(&rows, out)?,
            (Body::Word32(body), OutputValues::Word32(out)) => body.dictionary(&rows, out)?,
            (Body::Word64(body), OutputValues::Word64(out)) => body.dictionary(&rows, out)?,
            (Body::Word128(body), OutputValues::Word128(out)) => body.dictionary(&rows, out)?,
            (Body::Text(body), OutputValues::Text(out)) => body.dictionary(&rows, out)?,
            _ => None,
        };
        let Some((codes, sorted, count)) = codes else { return Ok(None) };
        values.append_validity(None, 0, count);
        let nulls = self.valid.map(|bits| {
            let mut builder = arrow::array::BooleanBufferBuilder::new(rows.len());
            builder.append_packed_range(rows, bits);
            NullBuffer::new(builder.finish())
        });
        Ok(Some(Codes { codes, nulls, sorted }))
    }

    fn other_type(&self) -> Damage {
        Damage::new(1, "the physical type of the output", format!("{:?}", self.header.physical))
    }
}

/// What [`PageReader::dictionary`] reads besides the values.
pub struct Codes {
    codes: Vec<u16>,
    nulls: Option<NullBuffer>,
    sorted: bool,
}

impl Codes {
    /// Together with the values.
    pub fn with_values(self, values: arrow::array::ArrayRef) -> EncodedColumn {
        EncodedColumn::Dictionary { codes: self.codes, nulls: self.nulls, values, sorted: self.sorted }
    }
}

/// The number of distinct values or runs: never more than rows.
fn count(sections: &mut Sections<'_>, header: &Header) -> Result<usize, Damage> {
    let start = *sections;
    match sections.number()? {
        count if (1..=header.rows).contains(&count) => Ok(count),
        count => Err(start.damage(format!("a count of 1 to {}", header.rows), count)),
    }
}

/// Codes checked against the number of values.
fn decode_codes(codes: &Packed<'_, u16>, rows: &Range<usize>, count: usize) -> Result<Vec<u16>, Damage> {
    let mut out = Vec::with_capacity(rows.len().next_multiple_of(VECTOR_ROWS) + VECTOR_ROWS);
    codes.decode(rows.start, rows.end, &mut out)?;
    match out.iter().max() {
        Some(&code) if code as usize >= count => Err(bad_code(code as usize, count)),
        _ => Ok(out),
    }
}

fn bad_code(code: usize, count: usize) -> Damage {
    Damage::new(0, format!("a dictionary code below {count}"), code)
}

/// The runs of a page: the last row of each.
#[derive(Clone, Copy)]
struct Runs<'a> {
    lasts: &'a [u16],
}

impl<'a> Runs<'a> {
    fn parse(sections: &mut Sections<'a>, count: usize, rows: usize) -> Result<Runs<'a>, Damage> {
        let lasts = sections.words::<u16>(count)?;
        if lasts.last().is_none_or(|&last| last as usize + 1 != rows) || !lasts.is_sorted_by(|a, b| a < b) {
            return Err(
                sections.damage(format!("ascending runs up to row {}", rows - 1), format!("{:?}", lasts.last()))
            );
        }
        Ok(Runs { lasts })
    }

    /// The run of a row.
    fn find(&self, row: usize) -> usize {
        self.lasts.partition_point(|&last| (last as usize) < row)
    }

    /// Calls `each` with the run and length of every part of `rows`.
    fn each(
        &self,
        rows: &Range<usize>,
        mut each: impl FnMut(usize, usize) -> Result<(), Damage>,
    ) -> Result<(), Damage> {
        let (mut row, mut run) = (rows.start, self.find(rows.start));
        while row < rows.end {
            let end = rows.end.min(self.lasts[run] as usize + 1);
            each(run, end - row)?;
            (row, run) = (end, run + 1);
        }
        Ok(())
    }
}

enum Words<'a, T> {
    Constant(T),
    Packed(Packed<'a, T>),
    Dictionary { values: &'a [T], sorted: bool, codes: Packed<'a, u16> },
    RunLength { values: &'a [T], runs: Runs<'a> },
    Plain(&'a [T]),
}

impl<'a, T: Word> Words<'a, T> {
    fn parse(header: &Header, mut sections: Sections<'a>) -> Result<Words<'a, T>, Damage> {
        Ok(match header.encoding {
            Encoding::Constant => Words::Constant(sections.words::<T>(1)?[0]),
            Encoding::Packed => Words::Packed(Packed::parse(&mut sections, header.rows)?),
            Encoding::Dictionary => {
                let (count, sorted) = (count(&mut sections, header)?, sections.number()? != 0);
                let values = sections.words(count)?;
                Words::Dictionary { values, sorted, codes: Packed::parse(&mut sections, header.rows)? }
            }
            Encoding::RunLength => {
                let count = count(&mut sections, header)?;
                let values = sections.words(count)?;
                Words::RunLength { values, runs: Runs::parse(&mut sections, count, header.rows)? }
            }
            Encoding::Plain => Words::Plain(sections.words(header.rows)?),
        })
    }

    fn decode(&self, rows: &Range<usize>, out: &mut Vec<T>) -> Result<(), Damage> {
        match self {
            Words::Constant(value) => out.resize(out.len() + rows.len(), *value),
            Words::Packed(packed) => packed.decode(rows.start, rows.end, out)?,
            Words::Dictionary { values, codes, .. } => {
                let codes = decode_codes(codes, rows, values.len())?;
                out.extend(codes.iter().map(|&code| values[code as usize]));
            }
            Words::RunLength { values, runs } => runs.each(rows, |run, len| {
                out.resize(out.len() + len, values[run]);
                Ok(())
            })?,
            Words::Plain(values) => out.extend_from_slice(&values[rows.clone()]),
        }
        Ok(())
    }

    fn take(&self, rows: impl ExactSizeIterator<Item = usize> + Clone, out: &mut Vec<T>) -> Result<(), Damage> {
        if let (Words::Packed(packed), true) = (self, rows.len() >= UNPACK_ROWS_MIN) {
            let mut vector = [T::default(); VECTOR_ROWS];
            let number = rows.clone().next().map_or(0, |row| row / VECTOR_ROWS);
            packed.unpack(number, &mut vector)?;
            out.extend(rows.map(|row| vector[row % VECTOR_ROWS]));
            return Ok(());
        }
        for row in rows {
            out.push(self.get(row)?);
        }
        Ok(())
    }

    fn get(&self, row: usize) -> Result<T, Damage> {
        Ok(match self {
            Words::Constant(value) => *value,
            Words::Packed(packed) => packed.get(row)?,
            Words::Dictionary { values, codes, .. } => {
                let code = codes.get(row)? as usize;
                *values.get(code).ok_or_else(|| bad_code(code, values.len()))?
            }
            Words::RunLength { values, runs } => values[runs.find(row)],
            Words::Plain(values) => values[row],
        })
    }

    fn dictionary(&self, rows: &Range<usize>, out: &mut Vec<T>) -> Result<Option<(Vec<u16>, bool, usize)>, Damage> {
        let Words::Dictionary { values, sorted, codes } = self else { return Ok(None) };
        let codes = decode_codes(codes, rows, values.len())?;
        out.extend_from_slice(values);
        Ok(Some((codes, *sorted, values.len())))
    }
}

enum Texts<'a> {
    Constant(&'a [u8]),
    Dictionary { values: Text<'a>, sorted: bool, codes: Packed<'a, u16> },
    RunLength { values: Text<'a>, runs: Runs<'a> },
    Plain(Text<'a>),
}

impl<'a> Texts<'a> {
    fn parse(header: &Header, mut sections: Sections<'a>) -> Result<Texts<'a>, Damage> {
        Ok(match header.encoding {
            Encoding::Constant => {
                let count = count(&mut sections, header)?;
                Texts::Constant(Text::parse(&mut sections, count)?.get(0)?)
            }
            Encoding::Packed => return Err(Damage::new(0, "an encoding for strings", "packed")),
            Encoding::Dictionary => {
                let (count, sorted) = (count(&mut sections, header)?, sections.number()? != 0);
                let values = Text::parse(&mut sections, count)?;
                Texts::Dictionary { values, sorted, codes: Packed::parse(&mut sections, header.rows)? }
            }
            Encoding::RunLength => {
                let count = count(&mut sections, header)?;
                let values = Text::parse(&mut sections, count)?;
                Texts::RunLength { values, runs: Runs::parse(&mut sections, count, header.rows)? }
            }
            Encoding::Plain => Texts::Plain(Text::parse(&mut sections, header.rows)?),
        })
    }

    fn decode(&self, rows: &Range<usize>, out: &mut TextOutput) -> Result<(), Damage> {
        match self {
            Texts::Constant(text) => out.repeat(text, rows.len()),
            Texts::Dictionary { values, codes, .. } => {
                let codes = decode_codes(codes, rows, values.count())?;
                out.gather(&values.all()?, &codes);
            }
            Texts::RunLength { values, runs } => runs.each(rows, |run, len| {
                out.repeat(values.get(run)?, len);
                Ok(())
            })?,
            Texts::Plain(values) => values.decode(rows.start, rows.end, out)?,
        }
        Ok(())
    }

    fn get(&self, row: usize) -> Result<&'a [u8], Damage> {
        match self {
            Texts::Constant(text) => Ok(text),
            Texts::Dictionary { values, codes, .. } => values.get(codes.get(row)? as usize),
            Texts::RunLength { values, runs } => values.get(runs.find(row)),
            Texts::Plain(values) => values.get(row),
        }
    }

    fn dictionary(&self, rows: &Range<usize>, out: &mut TextOutput) -> Result<Option<(Vec<u16>, bool, usize)>, Damage> {
        let Texts::Dictionary { values, sorted, codes } = self else { return Ok(None) };
        let codes = decode_codes(codes, rows, values.count())?;
        values.decode(0, values.count(), out)?;
        Ok(Some((codes, *sorted, values.count())))
    }
}

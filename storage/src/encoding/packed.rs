//! Frame of reference and bit-packing: each vector of 1024 values has a base (its least value) and a width, and stores
//! `value - base` in `width` bits each, in the FastLanes order. (Source: Afroozeh and Boncz, "The FastLanes compression
//! layout", PVLDB 16(9), 2023; crate `fastlanes`.) A single value costs one or two word reads.
//!
//! Sections: bases, one word a vector; directory, one u32 a vector (`width << 24 | start`, start in units of 128 bytes);
//! packed vectors, 128 * width bytes each. A last, short vector is filled up with its base.

use super::VECTOR_ROWS;
use super::page::{Damage, SECTION_ALIGN, Sections, pad};
use super::word::Word;

/// Bytes that one bit of width costs a vector.
const WIDTH_BYTES: usize = VECTOR_ROWS / 8;

/// Base and width of one vector.
#[derive(Clone, Copy, Debug)]
pub struct Frame<T> {
    base: T,
    width: u8,
}

impl<T: Word> Frame<T> {
    /// The frame of a vector's values (1 to 1024), or `None` when they are too far apart to pack.
    pub fn of(values: &[T]) -> Option<Frame<T>> {
        let (mut low, mut high) = (values[0], values[0]);
        for &value in values {
            low = if value.less(low) { value } else { low };
            high = if high.less(value) { value } else { high };
        }
        let width = 64 - high.delta(low)?.leading_zeros();
        Some(Frame { base: low, width: width as u8 })
    }
}

/// Bytes that vectors of these frames take.
pub fn size<T: Word>(frames: &[Frame<T>]) -> usize {
    let data: usize = frames.iter().map(|frame| WIDTH_BYTES * frame.width as usize).sum();
    data + directory_size::<T>(frames.len())
}

fn directory_size<T: Word>(vectors: usize) -> usize {
    (vectors * T::BYTES).next_multiple_of(SECTION_ALIGN) + (vectors * 4).next_multiple_of(SECTION_ALIGN)
}

/// Appends bases and directory.
pub fn put_directory<T: Word>(frames: &[Frame<T>], out: &mut Vec<u8>) {
    frames.iter().for_each(|frame| T::put(&[frame.base], out));
    pad(out);
    let mut start = 0u32;
    for frame in frames {
        out.extend((u32::from(frame.width) << 24 | start).to_le_bytes());
        start += u32::from(frame.width);
    }
    pad(out);
}

/// Appends one packed vector.
pub fn put_vector<T: Word>(frame: Frame<T>, values: &[T], out: &mut Vec<u8>) {
    if frame.width == 0 {
        return;
    }
    let mut vector = [frame.base; VECTOR_ROWS];
    vector[..values.len()].copy_from_slice(values);
    T::pack(&vector, frame.base, frame.width as usize, out);
}

/// Appends values whole: directory and vectors.
pub fn put<T: Word>(values: &[T], out: &mut Vec<u8>) -> Option<()> {
    let frames = values.chunks(VECTOR_ROWS).map(Frame::of).collect::<Option<Vec<_>>>()?;
    put_directory(&frames, out);
    frames.iter().zip(values.chunks(VECTOR_ROWS)).for_each(|(&frame, vector)| put_vector(frame, vector, out));
    Some(())
}

/// Packed values of a page.
#[derive(Clone, Copy)]
pub struct Packed<'a, T> {
    bases: &'a [T],
    directory: &'a [u32],
    data: &'a [u8],
}

impl<'a, T: Word> Packed<'a, T> {
    /// Takes the sections of `rows` packed values; they are the last but for what `tail` names as their size.
    pub fn parse(sections: &mut Sections<'a>, rows: usize) -> Result<Packed<'a, T>, Damage> {
        let vectors = rows.div_ceil(VECTOR_ROWS);
        let bases = sections.words::<T>(vectors)?;
        let directory = sections.words::<u32>(vectors)?;
        let bytes = directory.iter().map(|entry| WIDTH_BYTES * (entry >> 24) as usize).sum();
        Ok(Packed { bases, directory, data: sections.take(bytes)? })
    }

    /// Base, width and packed bytes of a vector.
    fn vector(&self, vector: usize) -> Result<(T, usize, &'a [u8]), Damage> {
        let damage = |found: String| Damage::new(0, "the directory entry of a packed vector", found);
        let (Some(&base), Some(&entry)) = (self.bases.get(vector), self.directory.get(vector)) else {
            return Err(damage(format!("vector {vector} of {}", self.bases.len())));
        };
        let (width, start) = ((entry >> 24) as usize, (entry & 0xff_ffff) as usize * WIDTH_BYTES);
        let bytes =
            self.data.get(start..start + width * WIDTH_BYTES).ok_or_else(|| damage(format!("{entry:#010x}")))?;
        Ok((base, width, bytes))
    }

    /// Unpacks a whole vector.
    pub fn unpack(&self, vector: usize, out: &mut [T; VECTOR_ROWS]) -> Result<(), Damage> {
        let (base, width, bytes) = self.vector(vector)?;
        if width == 0 {
            out.fill(base);
            return Ok(());
        }
        T::unpack(bytes, base, width, out)
    }

    /// Unpacks one value.
    pub fn get(&self, row: usize) -> Result<T, Damage> {
        let (base, width, bytes) = self.vector(row / VECTOR_ROWS)?;
        if width == 0 {
            return Ok(base);
        }
        T::unpack_one(bytes, base, width, row % VECTOR_ROWS)
    }

    /// Appends the values of rows `[from, to)`; the caller has checked that they exist.
    pub fn decode(&self, from: usize, to: usize, out: &mut Vec<T>) -> Result<(), Damage> {
        let mut row = from;
        while row < to {
            let (vector, first) = (row / VECTOR_ROWS, row % VECTOR_ROWS);
            let last = (to - vector * VECTOR_ROWS).min(VECTOR_ROWS);
            let start = out.len();
            if first == 0 {
                // Straight into the output; what a short vector is filled up with goes again.
                out.resize(start + VECTOR_ROWS, T::default());
                let target = out[start..].first_chunk_mut().expect("resized by a vector");
                self.unpack(vector, target)?;
                out.truncate(start + last);
            } else {
                let mut values = [T::default(); VECTOR_ROWS];
                self.unpack(vector, &mut values)?;
                out.extend_from_slice(&values[first..last]);
            }
            row = vector * VECTOR_ROWS + last;
        }
        Ok(())
    }
}

//! The machine words that fixed-width values are stored as. Words are bit patterns: integers, dates and times as they are,
//! floats as their bits, so that every value comes back exactly. Order means signed order, which is what makes small
//! ranges out of small integers of either sign; for floats it is only a heuristic.

use super::VECTOR_ROWS;
use super::page::Damage;
use fastlanes::{BitPacking, FoR};

/// A word of 8 to 128 bits.
pub trait Word: Copy + Default + PartialEq + Eq + std::hash::Hash + 'static {
    /// Size in bytes.
    const BYTES: usize;

    /// Whether `self` is less than `other` as a signed integer.
    fn less(self, other: Self) -> bool;
    /// `self - base` (modulo the word), or `None` when that cannot be packed (over 64 bits).
    fn delta(self, base: Self) -> Option<u64>;
    /// A value that any map can be keyed with, and hashed by.
    fn bits(self) -> u128;
    /// Appends the little-endian bytes of the words.
    fn put(words: &[Self], out: &mut Vec<u8>);
    /// Packs `value - base` for each value, `width` bits each, behind `out`. `width` suffices for every delta.
    fn pack(values: &[Self; VECTOR_ROWS], base: Self, width: usize, out: &mut Vec<u8>);
    /// Unpacks a vector. Errors when `packed` is not `128 * width` bytes or `width` exceeds the word.
    fn unpack(packed: &[u8], base: Self, width: usize, out: &mut [Self; VECTOR_ROWS]) -> Result<(), Damage>;
    /// Unpacks one value; `row < 1024`.
    fn unpack_one(packed: &[u8], base: Self, width: usize, row: usize) -> Result<Self, Damage>;
}

/// Views bytes as words.
///
/// Errors when they are not aligned or not a whole number of words.
pub fn words<T: Word>(bytes: &[u8]) -> Result<&[T], Damage> {
    #[expect(unsafe_code, reason = "pages are read in place")]
    // SAFETY: `Word` is implemented for unsigned integers only (this module), for which every bit pattern is valid.
    let (before, middle, after) = unsafe { bytes.align_to::<T>() };
    if before.is_empty() && after.is_empty() {
        return Ok(middle);
    }
    Err(Damage::new(0, format!("a section of aligned {}-byte words", T::BYTES), format!("{} bytes", bytes.len())))
}

/// The bytes of words, for writing.
fn bytes_of<T: Word>(words: &[T]) -> &[u8] {
    #[expect(unsafe_code, reason = "pages are written in place")]
    // SAFETY: unsigned integers have no padding, and bytes need no alignment; length and lifetime are those of `words`.
    unsafe {
        std::slice::from_raw_parts(words.as_ptr().cast::<u8>(), std::mem::size_of_val(words))
    }
}

fn check_packed(packed: &[u8], width: usize, width_max: usize) -> Result<(), Damage> {
    if width > width_max || packed.len() != width * VECTOR_ROWS / 8 {
        let found = format!("{} bytes of {width} bits", packed.len());
        return Err(Damage::new(0, format!("a packed vector of at most {width_max} bits a value"), found));
    }
    Ok(())
}

/// Packs words that are deltas already.
fn pack_lanes<T: Word + BitPacking>(deltas: &[T; VECTOR_ROWS], width: usize, out: &mut Vec<u8>) {
    let mut packed = [T::default(); VECTOR_ROWS];
    let len = width * VECTOR_ROWS / (8 * T::BYTES);
    assert!(width <= 8 * T::BYTES, "width is computed from values of this word");
    #[expect(unsafe_code, reason = "fastlanes checks lengths only in debug builds")]
    // SAFETY: the input has 1024 words, the output exactly `1024 * width / bits of T` words, and `width` fits the word.
    unsafe {
        T::unchecked_pack(width, deltas, &mut packed[..len]);
    }
    out.extend_from_slice(bytes_of(&packed[..len]));
}

fn unpack_lanes<T: Word + FoR>(packed: &[u8], base: T, width: usize, out: &mut [T; VECTOR_ROWS]) -> Result<(), Damage> {
    check_packed(packed, width, 8 * T::BYTES)?;
    let packed = words::<T>(packed)?;
    #[expect(unsafe_code, reason = "fastlanes checks lengths only in debug builds")]
    // SAFETY: `check_packed` has verified the width and that the input has `1024 * width / bits of T` words.
    unsafe {
        T::unchecked_unfor_pack(width, packed, base, out);
    }
    Ok(())
}

fn unpack_lane<T: Word + BitPacking>(packed: &[u8], width: usize, row: usize) -> Result<T, Damage> {
    check_packed(packed, width, 8 * T::BYTES)?;
    let packed = words::<T>(packed)?;
    assert!(row < VECTOR_ROWS, "callers take the row modulo the vector");
    #[expect(unsafe_code, reason = "fastlanes checks lengths only in debug builds")]
    // SAFETY: `check_packed` has verified the width and that the input has `1024 * width / bits of T` words.
    Ok(unsafe { T::unchecked_unpack_single(width, packed, row) })
}

macro_rules! word {
    ($word:ty, $signed:ty) => {
        impl Word for $word {
            const BYTES: usize = std::mem::size_of::<$word>();

            #[inline]
            fn less(self, other: Self) -> bool {
                (self as $signed) < (other as $signed)
            }

            #[inline]
            fn delta(self, base: Self) -> Option<u64> {
                Some(u64::from(self.wrapping_sub(base)))
            }

            #[inline]
            fn bits(self) -> u128 {
                u128::from(self)
            }

            fn put(words: &[Self], out: &mut Vec<u8>) {
                out.extend_from_slice(bytes_of(words));
            }

            fn pack(values: &[Self; VECTOR_ROWS], base: Self, width: usize, out: &mut Vec<u8>) {
                let mut deltas = [0; VECTOR_ROWS];
                deltas.iter_mut().zip(values).for_each(|(delta, value)| *delta = value.wrapping_sub(base));
                pack_lanes(&deltas, width, out);
            }

            fn unpack(packed: &[u8], base: Self, width: usize, out: &mut [Self; VECTOR_ROWS]) -> Result<(), Damage> {
                unpack_lanes(packed, base, width, out)
            }

            fn unpack_one(packed: &[u8], base: Self, width: usize, row: usize) -> Result<Self, Damage> {
                Ok(base.wrapping_add(unpack_lane(packed, width, row)?))
            }
        }
    };
}

word!(u8, i8);
word!(u16, i16);
word!(u32, i32);
word!(u64, i64);

/// 128-bit words are packed as 64-bit deltas: decimals and large integers of one vector are nearly always that close.
impl Word for u128 {
    const BYTES: usize = 16;

    #[inline]
    fn less(self, other: Self) -> bool {
        (self as i128) < (other as i128)
    }

    #[inline]
    fn delta(self, base: Self) -> Option<u64> {
        u64::try_from(self.wrapping_sub(base)).ok()
    }

    #[inline]
    fn bits(self) -> u128 {
        self
    }

    fn put(words: &[Self], out: &mut Vec<u8>) {
        out.extend_from_slice(bytes_of(words));
    }

    fn pack(values: &[Self; VECTOR_ROWS], base: Self, width: usize, out: &mut Vec<u8>) {
        let mut deltas = [0u64; VECTOR_ROWS];
        deltas.iter_mut().zip(values).for_each(|(delta, value)| *delta = value.wrapping_sub(base) as u64);
        pack_lanes(&deltas, width, out);
    }

    fn unpack(packed: &[u8], base: Self, width: usize, out: &mut [Self; VECTOR_ROWS]) -> Result<(), Damage> {
        let mut deltas = [0u64; VECTOR_ROWS];
        unpack_lanes(packed, 0, width, &mut deltas)?;
        out.iter_mut().zip(&deltas).for_each(|(value, &delta)| *value = base.wrapping_add(u128::from(delta)));
        Ok(())
    }

    fn unpack_one(packed: &[u8], base: Self, width: usize, row: usize) -> Result<Self, Damage> {
        Ok(base.wrapping_add(u128::from(unpack_lane::<u64>(packed, width, row)?)))
    }
}

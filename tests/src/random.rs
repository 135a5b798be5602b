//! Seeded numbers.

/// xorshift64*. Source: Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016.
pub struct Random(u64);

impl Random {
    /// From a seed; zero is as good as any other.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        (self.bits() >> 16) % bound.max(1)
    }
}

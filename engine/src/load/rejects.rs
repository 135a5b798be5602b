//! Rejected rows: counted all, kept the first ones, in bounded memory.

/// Rows kept for ErrorURL.
const KEPT_ROWS_MAX: usize = 100;
/// Bytes kept of one row.
pub(super) const ROW_BYTES_MAX: usize = 1024;

/// The rejected rows of one load.
#[derive(Debug, Default)]
pub struct Rejects {
    count: u64,
    log: String,
}

impl Rejects {
    /// One more: why, and the row as it came.
    pub fn add(&mut self, reason: &str, row: &[u8]) {
        self.count += 1;
        if self.count <= KEPT_ROWS_MAX as u64 {
            let row = String::from_utf8_lossy(&row[..row.len().min(ROW_BYTES_MAX)]);
            self.log.push_str(&format!("Error: {reason}. Row: {}\n", row.replace(['\n', '\r'], " ")));
        }
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What ErrorURL serves: one line a row, and how many more there were.
    pub fn log(&self) -> String {
        match self.count.saturating_sub(KEPT_ROWS_MAX as u64) {
            0 => self.log.clone(),
            more => format!("{}... and {more} more rejected rows\n", self.log),
        }
    }

    /// The first reason, for the reply's message.
    pub fn first(&self) -> Option<&str> {
        self.log.lines().next()
    }
}

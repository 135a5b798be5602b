//! Fuzzing of parsers of outside bytes, on stable Rust and in the normal test command: real inputs (the corpus, files in the tree) are changed at
//! random, byte by byte or word by word, and the parser must answer each. Crates that do not depend on this one include this file and `random.rs` by path.
//!
//! An input that makes the parser panic is made smaller and written to the corpus folder as `found-HASH`, where every later run tries it first:
//! mend the parser and keep the file. What runs is in a file beside the tests, so that an input that ends the process or never ends is known too.
//!
//! `STARLING_FUZZ_CASES` sets the cases of each parser, `STARLING_FUZZ_SEED` (1) the seed.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::random::Random;

/// A case that takes longer is a hang.
const CASE_SECONDS_MAX: u64 = 120;
/// Tries to make a failing input smaller.
const SHRINKS_MAX: usize = 400;
/// Longest input: what is doubled again and again stops here.
const INPUT_BYTES_MAX: usize = 1 << 16;
/// Numbers at which lengths and casts go wrong.
const NUMBERS: [u64; 14] = [
    0,
    1,
    7,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x10000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    i64::MAX as u64,
    u64::MAX,
];
/// Numbers as text, for the same.
const NUMERALS: [&str; 14] = [
    "0",
    "-1",
    "1e400",
    "-1e-400",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "170141183460469231731687303715884105728",
    "99999999999999999999999999999999999999999999",
    "0.00000000000000000000000000000000000000001",
    "4294967296",
    "65536",
    "NULL",
    "''",
];

/// How inputs are changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Packets and files: bytes, lengths, runs.
    Bytes,
    /// Statements: words of this input and of others, besides bytes. What is not UTF-8 stays: parsers get bytes.
    Text,
}

/// One parser's corpus and how it is changed.
pub struct Fuzz {
    name: &'static str,
    form: Form,
    /// Where failing inputs are kept.
    folder: PathBuf,
    seeds: Vec<Vec<u8>>,
    /// `seeds` as words, for text.
    words: Vec<Vec<String>>,
}

impl Fuzz {
    /// With every file of `folder` (a path from the crate's directory) as seeds.
    pub fn new(name: &'static str, form: Form, folder: &Path) -> Fuzz {
        let mut fuzz = Fuzz { name, form, folder: folder.to_path_buf(), seeds: Vec::new(), words: Vec::new() };
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder).map_or_else(
            |_| Vec::new(),
            |entries| entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect(),
        );
        files.sort();
        for file in files {
            let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            fuzz.seed(bytes);
        }
        fuzz
    }

    /// Adds an input to begin with.
    pub fn seed(&mut self, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        if self.form == Form::Text {
            self.words.push(words(&String::from_utf8_lossy(&bytes)));
        }
        self.seeds.push(bytes);
    }

    /// Runs `check` over every seed, and then over changed ones: `cases` of them unless the environment says otherwise. `check` panics when the parser is
    /// wrong.
    pub fn run(&self, cases: u64, mut check: impl FnMut(&[u8])) {
        assert!(!self.seeds.is_empty(), "{}: no corpus", self.name);
        let cases = self.seeds.len() as u64 + setting("STARLING_FUZZ_CASES").unwrap_or(cases);
        let seed = setting("STARLING_FUZZ_SEED").unwrap_or(1);
        let mut random = Random::new(seed);
        let watch = Watch::start(self.name);
        let started = Instant::now();
        for case in 0..cases {
            let input = match self.seeds.get(case as usize) {
                Some(seed) => seed.clone(),
                None => self.changed(&mut random),
            };
            watch.begin(&input);
            if catch_unwind(AssertUnwindSafe(|| check(&input))).is_err() {
                self.fail(&input, case, seed, &watch, &mut check);
            }
        }
        println!("{}: {cases} cases, seed {seed}, {:.1} s", self.name, started.elapsed().as_secs_f64());
    }

    fn fail(&self, input: &[u8], case: u64, seed: u64, watch: &Watch, check: &mut impl FnMut(&[u8])) -> ! {
        let input = shrink(input, |smaller| {
            watch.begin(smaller);
            catch_unwind(AssertUnwindSafe(|| check(smaller))).is_err()
        });
        let mut hasher = DefaultHasher::new();
        input.hash(&mut hasher);
        let path = self.folder.join(format!("found-{:016x}", hasher.finish()));
        drop(std::fs::create_dir_all(&self.folder));
        let kept = std::fs::write(&path, &input);
        let text = String::from_utf8_lossy(&input);
        panic!("{}: case {case} of seed {seed} fails, kept as {} ({kept:?}): {text}", self.name, path.display());
    }

    /// A seed with one to eight changes.
    fn changed(&self, random: &mut Random) -> Vec<u8> {
        let at = random.below(self.seeds.len() as u64) as usize;
        let changes = 1 + random.below(4) * random.below(3);
        if self.form == Form::Text && random.below(8) > 0 {
            let mut words = self.words[at].clone();
            (0..changes).for_each(|_| self.change_words(&mut words, random));
            let mut text = words.concat().into_bytes();
            text.truncate(INPUT_BYTES_MAX);
            return text;
        }
        let mut bytes = self.seeds[at].clone();
        (0..changes).for_each(|_| self.change_bytes(&mut bytes, random));
        bytes
    }

    fn change_bytes(&self, bytes: &mut Vec<u8>, random: &mut Random) {
        let at = random.below(bytes.len() as u64 + 1) as usize;
        let len = (1 + random.below(16) as usize * random.below(8) as usize).min(bytes.len() - at);
        let number = NUMBERS[random.below(NUMBERS.len() as u64) as usize];
        match random.below(10) {
            0 if at < bytes.len() => bytes[at] = random.bits() as u8,
            1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 if at < bytes.len() => bytes[at] = bytes[at].wrapping_add(random.below(3) as u8).wrapping_sub(1),
            3 => bytes.truncate(at),
            4 => bytes.insert(at, random.bits() as u8),
            5 if bytes.len() < INPUT_BYTES_MAX => bytes.extend_from_within(at..at + len),
            6 => drop(bytes.drain(at..at + len)),
            7 => {
                let width = 1 << random.below(4);
                let number = number.wrapping_add(random.below(3)).wrapping_sub(1).to_le_bytes();
                bytes.iter_mut().skip(at).zip(&number[..width]).for_each(|(byte, new)| *byte = *new);
            }
            8 if bytes.len() < INPUT_BYTES_MAX => {
                let other = &self.seeds[random.below(self.seeds.len() as u64) as usize];
                let from = random.below(other.len() as u64 + 1) as usize;
                let len = (random.below(64) as usize).min(other.len() - from);
                bytes.splice(at..at, other[from..from + len].iter().copied());
            }
            9 => bytes[at..at + len].fill(random.bits() as u8),
            _ => {}
        }
    }

    fn change_words(&self, words: &mut Vec<String>, random: &mut Random) {
        let at = random.below(words.len() as u64 + 1) as usize;
        let len = (1 + random.below(6) as usize).min(words.len() - at);
        let other = &self.words[random.below(self.words.len() as u64) as usize];
        match random.below(10) {
            0 => drop(words.drain(at..at + len)),
            1 => {
                let run = words[at..at + len].to_vec();
                words.splice(at..at, run);
            }
            // One word of another input, a run of them, a whole parenthesis.
            2 | 3 if at < words.len() && !other.is_empty() => {
                words[at] = other[random.below(other.len() as u64) as usize].clone();
            }
            4 => {
                let from = random.below(other.len() as u64 + 1) as usize;
                let count = (random.below(12) as usize).min(other.len() - from);
                words.splice(at..at, other[from..from + count].iter().cloned());
            }
            5 => {
                if let (Some(hole), Some(piece)) = (group(words, random), group(other, random)) {
                    words.splice(hole, other[piece].iter().cloned());
                }
            }
            6 => {
                let numbers: Vec<usize> =
                    (0..words.len()).filter(|&i| words[i].starts_with(|c: char| c.is_ascii_digit())).collect();
                if !numbers.is_empty() {
                    let numeral = NUMERALS[random.below(NUMERALS.len() as u64) as usize];
                    words[numbers[random.below(numbers.len() as u64) as usize]] = numeral.to_string();
                }
            }
            7 if at < words.len() => {
                let to = random.below(words.len() as u64) as usize;
                words.swap(at, to);
            }
            // Deep and long: the same word many times.
            8 if at < words.len() && random.below(8) == 0 => {
                let times = 1 << random.below(12);
                words[at] = words[at].repeat(times.min(INPUT_BYTES_MAX / words[at].len().max(1)));
            }
            9 if at < words.len() => {
                let mut bytes = std::mem::take(&mut words[at]).into_bytes();
                self.change_bytes(&mut bytes, random);
                words[at] = String::from_utf8_lossy(&bytes).into_owned();
            }
            _ => {}
        }
    }
}

/// A run of words from a `(` to its `)`.
fn group(words: &[String], random: &mut Random) -> Option<std::ops::Range<usize>> {
    let opens: Vec<usize> = (0..words.len()).filter(|&i| words[i] == "(").collect();
    let start = *opens.get(random.below(opens.len() as u64) as usize)?;
    let mut depth = 0;
    for (at, word) in words.iter().enumerate().skip(start) {
        match word.as_str() {
            "(" => depth += 1,
            ")" if depth == 1 => return Some(start..at + 1),
            ")" => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Cuts a text into words, quoted strings, blanks and single signs; together they are the text.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(first) = rest.next() {
        let mut word = String::from(first);
        if first == '\'' || first == '"' || first == '`' {
            for next in rest.by_ref() {
                word.push(next);
                if next == first {
                    break;
                }
            }
        } else {
            let class = |c: char| match c {
                c if c.is_alphanumeric() || c == '_' || c == '@' => 1,
                c if c.is_whitespace() => 2,
                _ => 3,
            };
            while class(first) != 3 && rest.peek().is_some_and(|&next| class(next) == class(first)) {
                word.extend(rest.next());
            }
        }
        words.push(word);
    }
    words
}

/// Takes pieces out of an input for as long as it goes on failing.
fn shrink(input: &[u8], mut fails: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let (mut input, mut tries) = (input.to_vec(), 0);
    let mut piece = input.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < input.len() && tries < SHRINKS_MAX {
            let mut smaller = input.clone();
            smaller.drain(at..(at + piece).min(input.len()));
            tries += 1;
            match fails(&smaller) {
                true => input = smaller,
                false => at += piece,
            }
        }
        piece /= 2;
    }
    input
}

/// Keeps the running input in a file, and ends the process when it runs for too long.
struct Watch {
    file: File,
    path: PathBuf,
    begun: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
}

impl Watch {
    fn start(name: &str) -> Watch {
        let exe = std::env::current_exe().unwrap_or_default();
        let path = exe.parent().unwrap_or(Path::new(".")).join(format!("fuzz-{name}.running"));
        let file = File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let watch = Watch { file, path, begun: Arc::default(), done: Arc::default() };
        let (begun, done, path) = (Arc::clone(&watch.begun), Arc::clone(&watch.done), watch.path.clone());
        std::thread::spawn(move || {
            let (mut seen, mut since) = (0, Instant::now());
            while !done.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(200));
                let now = begun.load(Ordering::Relaxed);
                if now != seen {
                    (seen, since) = (now, Instant::now());
                } else if since.elapsed().as_secs() > CASE_SECONDS_MAX {
                    eprintln!("an input runs for more than {CASE_SECONDS_MAX} seconds: {}", path.display());
                    std::process::abort();
                }
            }
        });
        watch
    }

    fn begin(&self, input: &[u8]) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        drop(self.file.write_all_at(input, 0));
        drop(self.file.set_len(input.len() as u64));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        drop(std::fs::remove_file(&self.path));
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

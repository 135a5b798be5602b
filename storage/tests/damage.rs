//! Files of the data directory with bytes changed: whatever they hold, reading them ends with rows or with an error, never with a panic, an endless
//! loop or an allocation that has nothing to do with what is there. Checksums are made to fit again after the change, so that what lies behind
//! them is reached; without that nearly every change ends at the checksum, which is tried too.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../../tests/src/fuzz.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod fuzz;
#[path = "../../tests/src/random.rs"]
mod random;
#[path = "support/row_schema.rs"]
mod row_schema;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use futures_lite::future::block_on;
use fuzz::{Form, Fuzz};
use row_schema::row_schema;
use starling_storage::cache::PageCache;
use starling_storage::delvector::DelVector;
use starling_storage::disk::{BLOCK_BYTES, DiskRef, SimDisk};
use starling_storage::ids::{CoreId, Epoch, FileId, Seq, TabletId, TxnId};
use starling_storage::inspect::{self, Item, ManifestRecord, SegmentFile, StreamId, StreamKind};
use starling_storage::log::{CommitRecord, Log, LogOptions, PartBody, TabletPart};
use starling_storage::manifest::{Edit, TabletState};
use starling_storage::recovery::recover;
use starling_storage::root::{Root, SLOT_BYTES};
use starling_storage::rows;
use starling_storage::schema::{CompareOp, Predicate, Scalar};
use starling_storage::segment::Segment;

/// The largest single allocation that a damaged file of a few KiB may cause. Reads are of 1 MiB; a chunk of 64 Ki rows has 1 MiB of 16-byte values.
const ALLOCATION_BYTES_MAX: usize = 16 << 20;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, and the largest request of each thread.
struct Noting;

fn note(bytes: usize) {
    // A thread that ends has no thread-locals any more, and no case to judge.
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(bytes)));
}

#[expect(unsafe_code, reason = "an allocator")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Noting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Noting = Noting;

/// Runs a case and looks at what it allocated.
fn bounded(work: impl FnOnce()) {
    LARGEST.set(0);
    work();
    let largest = LARGEST.get();
    assert!(largest <= ALLOCATION_BYTES_MAX, "one allocation of {largest} bytes");
}

fn folder(parser: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(parser)
}

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)).unwrap()
}

fn fuzz(parser: &'static str, seeds: impl IntoIterator<Item = Vec<u8>>) -> Fuzz {
    let mut fuzz = Fuzz::new(parser, Form::Bytes, &folder(parser));
    seeds.into_iter().for_each(|seed| fuzz.seed(seed));
    fuzz
}

/// Whole blocks, each with a checksum that fits.
fn sealed_blocks(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
    for block in bytes.chunks_exact_mut(BLOCK_BYTES) {
        let crc = crc32c::crc32c(&block[4..]);
        block[..4].copy_from_slice(&crc.to_le_bytes());
    }
    bytes
}

/// A disk with one file.
async fn disk_with(path: &str, bytes: &[u8]) -> DiskRef {
    let disk = SimDisk::new(1).disk();
    if let Some((dir, _)) = path.rsplit_once('/') {
        disk.create_dir(dir).await.unwrap();
    }
    let file = disk.create(path).await.unwrap();
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
    if !bytes.is_empty() {
        file.write_at(0, &bytes).await.unwrap();
    }
    disk
}

/// The records of a file of blocks, as far as they can be read.
fn records(bytes: &[u8], stream: StreamId, number: u32) -> Vec<Vec<u8>> {
    block_on(async {
        let disk = disk_with("f", bytes).await;
        let mut records = Vec::new();
        let mut keep = |item| {
            if let Item::Record { bytes, .. } = item {
                records.push(bytes);
            }
            Ok(())
        };
        drop(inspect::identify(&disk, "f").await);
        drop(inspect::blocks(&disk, "f", stream, number, &mut keep).await);
        records
    })
}

const LOG: StreamId = StreamId { kind: StreamKind::Log, epoch: 3, core: 1 };
const MANIFEST: StreamId = StreamId { kind: StreamKind::Manifest, epoch: 3, core: 1 };
const CATALOG: StreamId = StreamId { kind: StreamKind::Catalog, epoch: 3, core: 0 };

fn commit_record(bytes: &[u8]) {
    let Ok(record) = CommitRecord::decode(Bytes::copy_from_slice(bytes)) else { return };
    let mut again = Vec::new();
    record.encode(&mut again);
    assert_eq!(again.len(), record.encoded_len());
    for part in record.parts {
        if let PartBody::Rows(bytes) = part.body {
            drop(rows::decode(&row_schema(), &bytes));
        }
    }
}

#[test]
fn log_records_and_blocks() {
    let kept = golden("log-v1.log");
    let seeds = records(&kept, LOG, 5);
    assert_eq!(seeds.len(), 3);
    fuzz("log_record", seeds).run(20_000, |bytes| bounded(|| commit_record(bytes)));

    let scan = |bytes: &[u8]| {
        records(bytes, LOG, 5).iter().for_each(|record| commit_record(record));
        block_on(async {
            let disk = disk_with("log/a", bytes).await;
            let segments = [SegmentFile { index: 5, path: "log/a".into() }];
            let mut read = |record: inspect::ScannedRecord| {
                commit_record(&record.bytes);
                Ok(())
            };
            drop(inspect::scan(&disk, LOG, &segments, true, &mut read).await);
        });
    };
    fuzz("log_block", [kept]).run(1_000, |bytes| {
        bounded(|| {
            scan(bytes);
            scan(&sealed_blocks(bytes));
        });
    });
}

fn manifest_record(bytes: &[u8]) {
    let states = match inspect::decode_manifest_record(bytes, "f", 0) {
        Ok(ManifestRecord::Tablet { state, .. }) => state,
        Ok(ManifestRecord::Edit(edit)) => {
            let mut state = TabletState::default();
            drop(state.apply(&edit));
            // Once more over what it gave: deletes are united then.
            drop(state.apply(&Edit { added: vec![], removed: vec![], ..edit }));
            state
        }
        _ => return,
    };
    for (file, deletes) in &states.deletes {
        drop(DelVector::from_roaring(deletes, &file.path()));
    }
}

#[test]
fn manifest_and_catalog_log() {
    let (manifest, catalog) = (golden("manifest-v1.man"), golden("catalog-v1.man"));
    let seeds = [records(&manifest, MANIFEST, 2), records(&catalog, CATALOG, 1)].concat();
    assert_eq!(seeds.len(), 10);
    fuzz("manifest_record", seeds).run(20_000, |bytes| bounded(|| manifest_record(bytes)));

    let load = |bytes: &[u8]| {
        block_on(async {
            let disk = disk_with(&inspect::stream_path(MANIFEST, 2), bytes).await;
            drop(inspect::load_manifest(&disk, MANIFEST, &[2], true).await);
            let disk = disk_with(&inspect::stream_path(CATALOG, 1), bytes).await;
            drop(inspect::load_catalog(&disk, CATALOG, &[1], true).await);
        });
    };
    fuzz("manifest_block", [manifest, catalog]).run(1_000, |bytes| {
        bounded(|| {
            load(bytes);
            load(&sealed_blocks(bytes));
        });
    });
}

#[test]
fn root_slots() {
    let kept = golden("root-v1");
    // What a slot holds; the rest is zeros, which would take nearly every change.
    let seeds = [kept[..80].to_vec(), kept[SLOT_BYTES..SLOT_BYTES + 80].to_vec()];
    fuzz("root", seeds).run(5_000, |bytes| {
        bounded(|| {
            let mut slot = bytes.to_vec();
            slot.resize(SLOT_BYTES, 0);
            drop(Root::parse(slot.clone().into(), 0));
            let crc = crc32c::crc32c(&slot[4..]);
            slot[..4].copy_from_slice(&crc.to_le_bytes());
            drop(Root::parse(slot.into(), 0));
        });
    });
}

#[test]
fn row_data() {
    fuzz("rows", [golden("rows-v1")]).run(20_000, |bytes| {
        bounded(|| {
            drop(rows::decode(&row_schema(), bytes));
            drop(rows::count(bytes));
        });
    });
}

/// Where the trailer says that the footer is, and its length; `None` for a file that has none.
fn footer_of(bytes: &[u8]) -> Option<(usize, usize)> {
    let trailer = bytes.len().checked_sub(64)?;
    let offset = u64::from_le_bytes(bytes[trailer + 16..trailer + 24].try_into().ok()?);
    let len = u32::from_le_bytes(bytes[trailer + 24..trailer + 28].try_into().ok()?);
    let offset = usize::try_from(offset).ok()?;
    (offset.checked_add(len as usize)? <= trailer).then_some((offset, len as usize))
}

/// Makes the checksums of the pages that a sound segment points to, of its footer and of its trailer fit.
fn seal_segment(bytes: &mut [u8], pages: &[(u64, u32)]) {
    let Some((footer, len)) = footer_of(bytes) else { return };
    for &(offset, page_len) in pages {
        let pointer = [&offset.to_le_bytes()[..], &page_len.to_le_bytes()].concat();
        let place = bytes[footer..footer + len].windows(12).position(|window| window == pointer);
        let page = bytes.get(offset as usize..offset as usize + page_len as usize);
        if let (Some(place), Some(page)) = (place, page) {
            let (at, crc) = (footer + place + 12, crc32c::crc32c(page));
            if at + 4 <= footer + len {
                bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
            }
        }
    }
    let trailer = bytes.len() - 64;
    let crc = crc32c::crc32c(&bytes[footer..footer + len]);
    bytes[trailer + 12..trailer + 16].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[trailer..trailer + 60]);
    bytes[trailer + 60..].copy_from_slice(&crc.to_le_bytes());
}

const SEGMENT: FileId = FileId { tablet: TabletId(1), number: 1 };

/// Reads everything of a segment in every way there is.
async fn read_segment(disk: &DiskRef) {
    let cache = PageCache::new(16 << 20);
    let Ok(segment) = Segment::open(disk, &cache, &SEGMENT.path(), SEGMENT).await else { return };
    let columns: Vec<usize> = (0..segment.meta().columns.len()).collect();
    let rows = segment.rows();
    for start in (0..rows.min(1 << 18)).step_by(64 << 10) {
        drop(segment.read(&columns, start, (rows - start).min(64 << 10)).await);
    }
    for &column in &columns {
        drop(segment.read(&[column], 0, rows.min(64 << 10)).await);
        drop(segment.take(&[column], &[0, rows / 2, rows.saturating_sub(1)]).await);
        drop(segment.pages(column).await);
        drop(segment.read_encoded(column, 0, rows.min(1024)).await);
        for value in [Scalar::Int(1), Scalar::Wide(1), Scalar::Float(0.5), Scalar::Text("a".into())] {
            let predicate = Predicate::Compare { column: column as u32, op: CompareOp::Le, value };
            drop(segment.prune(&[predicate]).await);
        }
    }
}

#[test]
fn segments() {
    let kept = golden("segment-v1.seg");
    let pages: Vec<(u64, u32)> = block_on(async {
        let disk = disk_with(&SEGMENT.path(), &kept).await;
        let segment = Segment::open(&disk, &PageCache::new(1 << 20), &SEGMENT.path(), SEGMENT).await.unwrap();
        let mut pages = Vec::new();
        for column in 0..segment.meta().columns.len() {
            pages.extend(segment.pages(column).await.unwrap().into_iter().map(|page| (page.offset, page.bytes)));
        }
        pages
    });
    assert!(pages.len() > 4, "{pages:?}");
    let mut sound = kept.clone();
    seal_segment(&mut sound, &pages);
    assert!(sound == kept, "sealing a sound file changes nothing");
    fuzz("segment", [kept.clone()]).run(600, |bytes| {
        // A whole file with the change in it: what is cut or longer is tried as it is.
        let mut sealed = bytes.to_vec();
        if sealed.len() >= 64 {
            sealed.resize(sealed.len().next_multiple_of(BLOCK_BYTES), 0);
            let end = sealed.len();
            sealed[end - 64..].copy_from_slice(&kept[kept.len() - 64..]);
            sealed[end - 32..end - 24].copy_from_slice(&(end as u64).to_le_bytes());
        }
        seal_segment(&mut sealed, &pages);
        bounded(|| {
            block_on(async {
                read_segment(&disk_with(&SEGMENT.path(), bytes).await).await;
                read_segment(&disk_with(&SEGMENT.path(), &sealed).await).await;
            });
        });
    });
}

/// The files of a small data directory: two cores, a few commits, stopped without a word.
fn directory() -> HashMap<String, Vec<u8>> {
    block_on(async {
        let sim = SimDisk::new(7);
        let disk = sim.disk();
        drop(recover(&disk, 2, &|_| Ok(HashMap::new())).await.unwrap());
        for core in 0..2u16 {
            let options = LogOptions { segment_bytes: 16 * BLOCK_BYTES as u64, spare_segments: 1 };
            let log = Log::create(disk.clone(), Epoch(1), CoreId(core), options, Rc::new(|| Seq(2))).await.unwrap();
            for seq in 1..6u64 {
                let body = PartBody::Ddl(Bytes::from(vec![seq as u8; 40]));
                let part = TabletPart { tablet: TabletId::CATALOG, schema_version: 1, body };
                let record = CommitRecord { seq: Seq(seq * 2 - u64::from(core)), txn: TxnId(seq), parts: vec![part] };
                let space = loop {
                    match log.reserve(record.encoded_len()).await {
                        Ok(space) => break space,
                        Err(_) => drop(log.turn().await),
                    }
                };
                drop(log.append(&record, space));
                log.turn().await.unwrap();
            }
        }
        sim.files().into_iter().map(|path| (path.clone(), sim.contents(&path).unwrap())).collect()
    })
}

#[test]
fn a_start_over_damaged_files() {
    let files = directory();
    let mut fuzz = Fuzz::new("start", Form::Bytes, &folder("start"));
    let mut names: Vec<&String> = files.keys().collect();
    names.sort();
    // An input is the place of a file in the list, and that file's bytes to their last block that is not zero.
    for (at, name) in (0u8..).zip(&names) {
        let bytes = &files[*name];
        let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        fuzz.seed([&[at][..], &bytes[..used]].concat());
    }
    let start = |damaged: &str, bytes: &[u8]| {
        block_on(async {
            let disk = SimDisk::new(1).disk();
            for dir in ["log", "manifest", "seg"] {
                disk.create_dir(dir).await.unwrap();
            }
            for (name, sound) in &files {
                let file = disk.create(name).await.unwrap();
                let mut bytes = if name == damaged { bytes.to_vec() } else { sound.clone() };
                bytes.resize(sound.len().max(bytes.len().next_multiple_of(BLOCK_BYTES)), 0);
                file.write_at(0, &bytes).await.unwrap();
            }
            recover(&disk, 3, &|_| Ok(HashMap::new())).await.map(|recovered| recovered.cut)
        })
    };
    assert_eq!(start("", &[]).unwrap(), Seq(10), "the files as they were");
    fuzz.run(600, |input| {
        let Some((&at, bytes)) = input.split_first() else { return };
        let Some(&damaged) = names.get(usize::from(at)) else { return };
        for bytes in [bytes.to_vec(), sealed_blocks(bytes)] {
            bounded(|| drop(start(damaged, &bytes)));
        }
    });
}

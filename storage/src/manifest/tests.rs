use super::codec::{Decoded, decode};
use super::load::{load_catalog, load_manifest};
use super::stream::{MANIFEST_DIR, parse_stream_name, stream_path, write_checkpoint};
use super::*;
use crate::disk::{BLOCK_BYTES, DiskRef, Fault, SimDisk};
use crate::error::ErrorKind;
use crate::ids::FileId;
use crate::log::block::{StreamId, StreamKind};
use crate::schema::{Predicate, Scalar};
use futures_lite::future::block_on;
use proptest::prelude::*;
use roaring::RoaringBitmap;

const STREAM: StreamId = StreamId { kind: StreamKind::Manifest, epoch: 2, core: 1 };

fn file(tablet: u64, number: u64) -> FileId {
    FileId { tablet: TabletId(tablet), number }
}

fn added(tablet: u64, number: u64, seq: u64) -> FileMeta {
    FileMeta { file: file(tablet, number), rows: 10, bytes: 4096, min_seq: Seq(1), max_seq: Seq(seq) }
}

fn dead(rows: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    rows.iter().copied().collect::<RoaringBitmap>().serialize_into(&mut bytes).unwrap();
    bytes
}

fn edit(tablet: u64, flushed: u64) -> Edit {
    Edit {
        tablet: TabletId(tablet),
        flushed: Seq(flushed),
        added: vec![added(tablet, flushed, flushed)],
        ..Edit::default()
    }
}

async fn new_manifest(disk: &DiskRef) -> Rc<Manifest> {
    disk.create_dir(MANIFEST_DIR).await.unwrap();
    let frames = checkpoint_frames(&BTreeMap::new(), Seq(0));
    write_checkpoint(disk, STREAM, 1, &frames).await.unwrap();
    disk.sync_dir(MANIFEST_DIR).await.unwrap();
    let end = StreamEnd {
        stream: STREAM,
        file: 1,
        next: frames.blocks(),
        checkpoint_bytes: frames.blocks() * BLOCK_BYTES as u64,
    };
    Manifest::open(Rc::clone(disk), ManifestImage { end, mark: Seq(0), tablets: BTreeMap::new() }).await.unwrap()
}

async fn reload(disk: &DiskRef) -> Result<(Seq, BTreeMap<TabletId, TabletState>)> {
    let mut files: Vec<u32> = Vec::new();
    for entry in disk.list(MANIFEST_DIR).await? {
        let (stream, file) = parse_stream_name(&entry.name).unwrap();
        assert_eq!(stream, STREAM);
        files.push(file);
    }
    let loaded = load_manifest(disk, STREAM, &files, true).await?;
    Ok((loaded.mark, loaded.tablets))
}

#[test]
fn edits_survive_power_loss_and_add_up() {
    block_on(async {
        let sim = SimDisk::new(1);
        let manifest = new_manifest(&sim.disk()).await;
        manifest.append(edit(1, 5)).await.unwrap();
        manifest.append(Edit { deletes: vec![(file(1, 5), dead(&[1, 2]))], ..edit(1, 6) }).await.unwrap();
        manifest
            .append(Edit { removed: vec![file(1, 6)], deletes: vec![(file(1, 5), dead(&[2, 9]))], ..edit(1, 7) })
            .await
            .unwrap();
        manifest.append(edit(2, 9)).await.unwrap();
        manifest.append(Edit { tablet: TabletId(2), flushed: Seq(9), dropped: true, ..Edit::default() }).await.unwrap();
        sim.lose_power();
        let (mark, tablets) = reload(&sim.restart().disk()).await.unwrap();
        assert_eq!(mark, Seq(9), "the mark of a dropped tablet stays");
        assert_eq!(tablets.len(), 1);
        let state = &tablets[&TabletId(1)];
        assert_eq!((state.flushed, state.next_file), (Seq(7), 8));
        assert_eq!(state.files.iter().map(|f| f.file.number).collect::<Vec<_>>(), [5, 7]);
        assert_eq!(state.deletes[&file(1, 5)], dead(&[1, 2, 9]));
    });
}

#[test]
fn an_edit_that_does_not_fit_is_refused_before_it_is_written() {
    block_on(async {
        let sim = SimDisk::new(2);
        let manifest = new_manifest(&sim.disk()).await;
        manifest.append(edit(1, 5)).await.unwrap();
        for wrong in [
            edit(1, 5),
            Edit { added: Vec::new(), ..edit(1, 4) },
            Edit { removed: vec![file(1, 77)], ..edit(1, 8) },
            Edit { deletes: vec![(file(1, 5), vec![1, 2, 3])], ..edit(1, 8) },
        ] {
            assert_eq!(manifest.append(wrong).await.unwrap_err().kind(), ErrorKind::Corrupt);
        }
        manifest.append(edit(1, 8)).await.unwrap();
        assert_eq!(reload(&sim.disk()).await.unwrap().1[&TabletId(1)].flushed, Seq(8));
    });
}

#[test]
fn checkpoints_bound_the_file_and_lose_nothing_at_any_crash() {
    for seed in 0..150 {
        block_on(async {
            let sim = SimDisk::new(seed);
            let manifest = new_manifest(&sim.disk()).await;
            let mut durable = 0;
            sim.crash_after(5 + seed % 60);
            for n in 1..40 {
                let made = manifest
                    .append(Edit { removed: if n > 1 { vec![file(1, n - 1)] } else { vec![] }, ..edit(1, n) })
                    .await;
                let made = match made {
                    Ok(()) => {
                        durable = n;
                        if n % 4 == 0 { manifest.checkpoint().await } else { Ok(()) }
                    }
                    e => e,
                };
                if made.is_err() {
                    break;
                }
            }
            if seed % 3 == 0 {
                sim.kill()
            } else {
                sim.lose_power()
            }
            let sim = sim.restart();
            let (mark, tablets) = reload(&sim.disk()).await.unwrap();
            let flushed = tablets.get(&TabletId(1)).map_or(0, |s| s.flushed.0);
            assert!(flushed == durable || flushed == durable + 1, "seed {seed}: F {flushed}, durable {durable}");
            assert_eq!(mark.0, flushed);
            // Synced by the reading: the next power loss takes nothing.
            sim.disk().sync_dir(MANIFEST_DIR).await.unwrap();
            sim.lose_power();
            assert_eq!(
                reload(&sim.restart().disk()).await.unwrap().1.get(&TabletId(1)).map_or(0, |s| s.flushed.0),
                flushed
            );
        });
    }
}

#[test]
fn the_file_stays_bounded() {
    block_on(async {
        let sim = SimDisk::new(3);
        let manifest = new_manifest(&sim.disk()).await;
        for n in 1..2000 {
            manifest
                .append(Edit { removed: if n > 1 { vec![file(1, n - 1)] } else { vec![] }, ..edit(1, n) })
                .await
                .unwrap();
            manifest.checkpoint_if_due().await.unwrap();
        }
        let files = sim.files();
        assert_eq!(files.len(), 1, "{files:?}");
        assert!(sim.contents(&files[0]).unwrap().len() < 3 << 20);
        assert_eq!(reload(&sim.disk()).await.unwrap().1[&TabletId(1)].flushed, Seq(1999));
    });
}

#[test]
fn a_full_disk_changes_nothing_and_damage_is_named() {
    block_on(async {
        let sim = SimDisk::new(4);
        let manifest = new_manifest(&sim.disk()).await;
        sim.fail(Fault::FullAt(0));
        assert_eq!(manifest.append(edit(1, 5)).await.unwrap_err().kind(), ErrorKind::ResourceExhausted);
        assert_eq!(manifest.checkpoint().await.unwrap_err().kind(), ErrorKind::ResourceExhausted);
        sim.mend();
        manifest.append(edit(1, 5)).await.unwrap();
        manifest.append(edit(1, 6)).await.unwrap();
        let path = stream_path(STREAM, 1);
        sim.damage(&path, BLOCK_BYTES as u64 + 100, &[0xaa]);
        let error = reload(&sim.disk()).await.unwrap_err();
        assert!(matches!(&error, StorageError::Corrupt { file, offset: 4096, .. } if *file == path), "{error}");
    });
}

#[test]
fn the_catalog_log_keeps_edits_behind_an_older_checkpoint() {
    block_on(async {
        let sim = SimDisk::new(5);
        let disk = sim.disk();
        disk.create_dir(MANIFEST_DIR).await.unwrap();
        let stream = StreamId { kind: StreamKind::Catalog, epoch: 1, core: 0 };
        let frames = catalog_frames(Seq(0), b"", &[]);
        write_checkpoint(&disk, stream, 1, &frames).await.unwrap();
        disk.sync_dir(MANIFEST_DIR).await.unwrap();
        let end = StreamEnd { stream, file: 1, next: frames.blocks(), checkpoint_bytes: 0 };
        let log = CatalogLog::open(disk, &CatalogImage { end: Some(end), ..CatalogImage::default() }).await.unwrap();
        for n in 1..=4u8 {
            log.append(Seq(n as u64), Bytes::from(vec![n])).await.unwrap();
        }
        log.checkpoint(Seq(2), Bytes::from_static(b"two")).await.unwrap();
        log.append(Seq(7), Bytes::from_static(b"7")).await.unwrap();
        assert_eq!(log.flushed(), Seq(7));
        sim.lose_power();
        let image = load_catalog(&sim.restart().disk(), stream, &[2], true).await.unwrap();
        assert_eq!((image.flushed, &image.checkpoint[..]), (Seq(7), &b"two"[..]));
        assert_eq!(image.edits.iter().map(|e| e.0.0).collect::<Vec<_>>(), [3, 4, 7]);
    });
}

fn sample() -> Vec<Vec<u8>> {
    let predicates =
        vec![(Seq(3), vec![Predicate::In { column: 1, values: vec![Scalar::Text("a".into()), Scalar::Wide(-1)] }])];
    let full = Edit {
        removed: vec![file(1, 2)],
        deletes: vec![(file(1, 4), dead(&[1]))],
        predicates,
        next_file: 9,
        ..edit(1, 4)
    };
    let mut state = TabletState::default();
    state.apply(&Edit { removed: Vec::new(), ..full.clone() }).unwrap();
    let records = [
        Record::Begin { mark: Seq(4) },
        Record::Tablet { tablet: TabletId(1), state: &state },
        Record::Edit(&full),
        Record::CatalogEdit { seq: Seq(4), bytes: b"x" },
        Record::End { count: 2 },
    ];
    let encode = |r: &Record<'_>| {
        let mut out = Vec::new();
        r.encode(&mut out);
        out
    };
    records.iter().map(encode).collect()
}

#[test]
fn records_round_trip() {
    let decoded: Vec<Decoded> = sample().iter().map(|b| decode(b, "f", 0).unwrap()).collect();
    assert!(
        matches!(&decoded[1], Decoded::Tablet { state, .. } if state.files.len() == 1 && state.predicates.len() == 1)
    );
    assert!(matches!(&decoded[2], Decoded::Edit(e) if e.next_file == 9 && e.deletes.len() == 1));
}

proptest! {
    #[test]
    fn no_bytes_panic_the_decoder(which in 0..5usize, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<prop::sample::Index>()) {
        let mut bytes = sample().swap_remove(which);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = decode(&bytes, "f", 0);
        bytes.truncate(cut.index(bytes.len() + 1));
        let _ = decode(&bytes, "f", 0);
    }
}

/// Callers undo what an edit names when the disk was full: that must mean that nothing of the edit can come back.
#[test]
fn a_write_that_finds_no_space_is_fatal_and_not_a_full_disk() {
    block_on(async {
        let sim = SimDisk::new(1);
        let manifest = new_manifest(&sim.disk()).await;
        manifest.append(edit(1, 5)).await.unwrap();
        sim.fail(Fault::WriteFull(0));
        for _ in 0..2 {
            assert_eq!(manifest.append(edit(1, 6)).await.unwrap_err().kind(), ErrorKind::Io);
        }
        assert_eq!(manifest.flushed(TabletId(1)), Some(Seq(5)));
    });
}

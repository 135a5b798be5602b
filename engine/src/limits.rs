//! Every bound of the engine, by name (P5). What a user tunes is in `runtime::NodeOptions`; these are not tuned.

use std::time::Duration;

/// Cores of one process: a transaction id has ten bits for its core, a connection id eight.
pub const CORES_MAX: u16 = 256;
/// glommio's preempt timer.
pub const PREEMPT_EVERY: Duration = Duration::from_millis(1);
/// Requests (stage, turns, DDL, labels) waiting on one core.
pub const REQUEST_LANE_MAX: usize = 1024;
/// Query messages (fragments, exchange set-up) waiting on one core.
pub const QUERY_LANE_MAX: usize = 1024;
/// Commits of one core between asking for a number and being visible.
pub const COMMITS_IN_FLIGHT_MAX: usize = 2048;
/// Control messages that are not of a commit, of one core, waiting on another.
pub const CONTROL_EXTRA_MAX: usize = 4096;
/// Stage requests a core works on at once.
pub const STAGES_IN_FLIGHT_MAX: usize = 64;
/// Rows a load gathers for one core before it sends them.
pub const LOAD_SEND_ROWS: usize = 16 * 1024;
/// Bytes a load gathers for one core before it sends them.
pub const LOAD_SEND_BYTES: usize = 1 << 20;
/// Rows a load cuts by bucket at a time.
pub const ROUTE_ROWS: usize = 4 * 1024;
/// Bytes an owner gathers for one tablet of a load before it stages them (to files, where they are many).
pub const STAGE_BYTES: usize = 16 << 20;
/// A load of at most this many rows shares its turns with its last stage message.
pub const SHARE_EARLY_ROWS: usize = 64 * 1024;
/// How long a stage waits while writes are over their memory before it is refused.
pub const WRITE_MEMORY_WAIT: Duration = Duration::from_secs(10);
/// Messages a pump handles before it yields.
pub const PUMP_BATCH: usize = 64;
/// Log segments of one core beyond which the tablets that hold the oldest back are flushed.
pub const LOG_SEGMENTS_SOFT_MAX: u64 = 6;
/// Rewrites (flush, compaction) one core runs at once.
pub const REWRITES_IN_FLIGHT_MAX: usize = 2;
/// How often background work looks around when nobody kicks it.
pub const BACKGROUND_EVERY: Duration = Duration::from_millis(250);
/// How often a core with more than one log segment asks the others how far they are flushed (R15).
pub const RECYCLE_EVERY: Duration = Duration::from_secs(1);
/// How long a stop waits for commits in flight.
pub const STOP_WAIT: Duration = Duration::from_secs(30);
/// Planner jobs of one core, waiting or running.
pub const PLANNER_JOBS_MAX: usize = 256;
/// Futures of one core's slow lane.
pub const SLOW_LANE_TASKS_MAX: usize = 4096;
/// Stack of the cores and slow lanes: syntax trees as deep as `EXPRESSION_DEPTH_MAX` are copied and dropped there, expressions evaluated. Only what is
/// touched takes memory.
pub const STACK_BYTES: usize = 16 << 20;
/// Stack of the planner threads (design 2): DataFusion names an expression by recursion, at 10 KiB a level and two or three levels for one of the text.
pub const PLANNER_STACK_BYTES: usize = 64 << 20;
/// Planner threads of one core that were left to a statement nobody waits for; then the next such statement keeps the planner.
pub const PLANNERS_LEFT_MAX: usize = 8;
/// Sessions of one core.
pub const SESSIONS_MAX: usize = 4096;
/// A commit answers Publish Timeout when it is not visible after this long.
pub const PUBLISH_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a statement waits for its turns unless it says otherwise (R7).
pub const LOCK_WAIT_TIMEOUT: Duration = Duration::from_secs(50);
/// Age at which a label is forgotten (StarRocks' label_keep_max_second).
pub const LABEL_KEEP: Duration = Duration::from_secs(3 * 24 * 3600);
/// Labels one label tablet keeps; the oldest go first.
pub const LABELS_PER_TABLET_MAX: usize = 100_000;
/// How often labels are looked through for expired ones.
pub const LABEL_EXPIRY_EVERY: Duration = Duration::from_secs(600);
/// Bytes of a label.
pub const LABEL_BYTES_MAX: usize = 128;
/// A task poll longer than this is a stall (P7).
pub const STALL: Duration = Duration::from_millis(2);
/// Buckets of one table.
pub const BUCKETS_MAX: u32 = 1024;
/// How long an operator may work before it yields.
pub const TIME_SLICE: Duration = Duration::from_micros(150);
/// Prepared statements of one session.
pub const PREPARED_STATEMENTS_MAX: usize = 16 * 1024;
/// Bytes of the texts of these statements.
pub const PREPARED_BYTES_MAX: usize = 64 << 20;
/// Bytes of the values of user variables.
pub const USER_VARIABLE_BYTES_MAX: usize = 16 << 20;
/// User variables of one session.
pub const USER_VARIABLES_MAX: usize = 4096;
/// Rows of one INSERT VALUES that go to the load at a time.
pub const INSERT_SLICE_ROWS: usize = 4096;
/// Bytes of rows an UPDATE or DELETE holds before it has its turns.
pub const CHANGE_BYTES_MAX: usize = 1 << 30;
/// Bytes of rows an INSERT of some columns holds before it takes the turns of the whole table.
pub const PARTIAL_HELD_BYTES_MAX: usize = 64 << 20;
/// Plans one core keeps by their text.
pub const CACHED_PLANS_MAX: usize = 512;
/// A longer text is planned each time.
pub const CACHED_STATEMENT_BYTES_MAX: usize = 16 << 10;
/// R11: a snapshot that newer commits have passed this long ago is not kept any longer.
pub const SNAPSHOT_KEEP: Duration = Duration::from_secs(3600);
/// The same while loads wait for the memory that old snapshots keep.
pub const SNAPSHOT_KEEP_TIGHT: Duration = Duration::from_secs(10);

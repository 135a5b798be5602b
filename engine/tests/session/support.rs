//! A node in a directory of its own, and a client that runs statements on it and shows results as text.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use starling_engine::error::EngineError;
use starling_engine::runtime::{Node, NodeOptions};
use starling_engine::session::{ConnectInfo, ConnectionKind, Outcome, Param, Session};
use starling_engine::shard::Core;
use starling_engine::types::text::TextWriter;
use starling_storage::ids::CoreId;

pub struct Server {
    node: Option<Node>,
    data: PathBuf,
}

impl Server {
    pub fn start(cores: u16) -> Server {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        // Not the system's temporary directory: that may be a tmpfs, which has no O_DIRECT.
        let name = format!("session-{}-{number}", std::process::id());
        let data = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&data);
        let mut server = Server { node: None, data };
        server.open(cores);
        server
    }

    fn open(&mut self, cores: u16) {
        let options = NodeOptions::new(self.data.clone(), cores, 1 << 30);
        self.node = Some(Node::start(options).unwrap());
    }

    pub fn restart(&mut self, cores: u16) {
        let report = self.node.take().unwrap().stop();
        assert!(report.errors.is_empty(), "{:?}", report.errors);
        self.open(cores);
    }

    pub fn node(&self) -> &Node {
        self.node.as_ref().unwrap()
    }

    /// Runs `work` with a fresh session on a core.
    pub fn with<T, F, W>(&self, core: u16, work: W) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
        W: FnOnce(Client) -> F + Send + 'static,
    {
        self.node()
            .run_on(CoreId(core), move |core| async move {
                let client = Client::open(&core).await;
                work(client).await
            })
            .unwrap()
    }

    /// Runs a script in one session: statements apart by lines of `;`-ended text; the last one's result is returned.
    pub fn run(&self, script: &str) -> String {
        let script = script.to_string();
        self.with(0, move |client| async move {
            let mut last = String::new();
            for statement in starling_engine::sql::split(&script) {
                last = client.run(statement).await;
            }
            last
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            node.stop();
        }
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// One session.
#[derive(Clone)]
pub struct Client {
    pub session: Rc<Session>,
}

impl Client {
    pub async fn open(core: &Rc<Core>) -> Client {
        let slot = core.sessions().register().unwrap();
        let info = ConnectInfo {
            user: "root".to_string(),
            peer: "127.0.0.1:1".to_string(),
            database: None,
            kind: ConnectionKind::Internal,
        };
        let session = Session::open(core, slot, info, Box::new(|| {})).await.unwrap();
        Client { session }
    }

    /// `ok(affected)`, rows as lines of `|`, or `error code: message`.
    pub async fn run(&self, sql: &str) -> String {
        show(self.session.execute(sql).await).await
    }

    pub async fn execute(&self, id: u32, params: Vec<Param>) -> String {
        show(self.session.execute_prepared(id, params).await).await
    }
}

pub async fn show(result: Result<Outcome, EngineError>) -> String {
    match rows(result).await {
        Ok(text) => text,
        Err(error) => format!("error {}: {}", error.code, error.message),
    }
}

async fn rows(result: Result<Outcome, EngineError>) -> Result<String, EngineError> {
    let mut rows = match result? {
        Outcome::Done(done) => return Ok(format!("ok({})", done.affected)),
        Outcome::Rows(rows) => rows,
    };
    let mut lines = vec![rows.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join("|")];
    while let Some(batch) = rows.next().await? {
        assert_eq!(batch.num_columns(), rows.columns.len());
        let writers: Vec<TextWriter> = batch.columns().iter().map(|c| TextWriter::new(c.as_ref()).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let cell = |writer: &TextWriter| {
                if writer.is_null(row) {
                    return "NULL".to_string();
                }
                let mut text = Vec::new();
                writer.write(row, &mut text);
                String::from_utf8(text).unwrap()
            };
            lines.push(writers.iter().map(cell).collect::<Vec<_>>().join("|"));
        }
    }
    Ok(lines.join("\n"))
}

//! One connection: greeting, login, commands, goodbye.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use starling_engine::error::EngineError;
use starling_engine::runtime::Class;
use starling_engine::session::{ConnectInfo, ConnectionKind, Session};
use starling_engine::shard::{Core, SessionSlot};
use starling_wire::WireError;
use starling_wire::auth::{NATIVE_PASSWORD, NONCE_BYTES};
use starling_wire::command::Command;
use starling_wire::constants::{capability, collation, status};
use starling_wire::handshake::{ChangeUser, Greeting, HandshakeResponse, encode_auth_switch};
use starling_wire::packet::Packet;

use crate::listen::OpenGuard;
use crate::mysql::SERVER_VERSION;
use crate::mysql::auth;
use crate::mysql::commands::{Commands, Ended};
use crate::mysql::inbox::{End, Inbox, read_packets};
use crate::mysql::output::Output;
use crate::mysql::statements::{malformed, too_large};
use crate::socket::Socket;
use crate::stats::count;

/// How long a client may take to log in (MySQL's connect_timeout).
const LOGIN_MAX: Duration = Duration::from_secs(10);
/// How long a session may be idle (MySQL's wait_timeout).
const IDLE_MAX: Duration = Duration::from_secs(28_800);

/// How long a client may go on sending what nobody reads, so that it gets to read why.
const LINGER_MAX: Duration = Duration::from_secs(5);

/// Serves a connection of this core until it ends.
pub async fn serve(core: Rc<Core>, socket: Rc<Socket>, guard: OpenGuard) {
    let inbox = Rc::new(Inbox::default());
    let connection = Connection { core, socket: socket.clone(), inbox: inbox.clone(), session: Rc::default() };
    connection.spawn_reader();
    let mut output = Output::new(socket.clone());
    let ended = connection.run(&mut output).await;
    // What was said last may still be on its way: the client sees it before it sees the end.
    let said = output.flush().await;
    if let Err(Ended::Unfollowable) = ended
        && said.is_ok()
    {
        socket.linger(LINGER_MAX).await;
    }
    if let Err(Ended::Socket(error)) = ended {
        tracing::debug!(peer = %socket.peer(), %error, "connection ended");
    }
    inbox.abandon();
    socket.shutdown();
    drop(guard);
}

struct Connection {
    core: Rc<Core>,
    socket: Rc<Socket>,
    inbox: Rc<Inbox>,
    /// The session once there is one, for the reader to cancel.
    session: Rc<RefCell<Option<Rc<Session>>>>,
}

impl Connection {
    /// The reader: its own task, so that a closed socket is seen while a statement runs.
    fn spawn_reader(&self) {
        let session = self.session.clone();
        let on_end = move || {
            if let Some(session) = session.borrow().as_ref() {
                session.cancel();
            }
        };
        self.core.spawn(Class::Control, "mysql reader", read_packets(self.socket.clone(), self.inbox.clone(), on_end));
    }

    /// Login and commands. Whatever `output` holds at the end is still to be sent.
    async fn run(&self, output: &mut Output) -> Result<(), Ended> {
        let slot = match self.core.sessions().register() {
            Ok(slot) => slot,
            Err(error) => {
                // In the greeting's place: the first packet of all.
                output.error(&EngineError::new(1040, b"08004", format!("Too many connections: {}", error.message)));
                return Ok(());
            }
        };
        let nonce = auth::nonce()?;
        self.greet(output, slot.id(), &nonce).await?;
        self.socket.wait_for_client(LOGIN_MAX);
        let Some(response) = self.login(output, &nonce).await? else { return Ok(()) };
        let Some(session) = self.open(output, slot, response).await else { return Ok(()) };
        self.inbox.admit();
        let mut commands = Commands::new(session, output, self.socket.clone());
        commands.ok();
        let ended = self.serve_commands(&mut commands).await;
        self.session.take();
        ended
    }

    async fn greet(&self, output: &mut Output, connection_id: u32, nonce: &[u8; NONCE_BYTES]) -> Result<(), Ended> {
        let greeting = Greeting {
            version: SERVER_VERSION.into(),
            connection_id,
            nonce: *nonce,
            capabilities: capability::SERVER,
            collation: collation::UTF8MB4_GENERAL_CI,
            status: status::AUTOCOMMIT,
            plugin: NATIVE_PASSWORD.into(),
        };
        output.packet(|out| greeting.encode(out));
        Ok(output.flush().await?)
    }

    /// Reads the client's answer and checks it; `None` when it was refused and told so.
    async fn login(&self, output: &mut Output, nonce: &[u8; NONCE_BYTES]) -> Result<Option<HandshakeResponse>, Ended> {
        let Some(packet) = self.packet(output).await? else { return Ok(None) };
        output.answer(packet.last);
        let mut response = match HandshakeResponse::decode(&packet.payload, capability::SERVER) {
            Ok(response) => response,
            Err(error) => {
                output.error(&bad_handshake(&error));
                return Ok(None);
            }
        };
        output.capabilities = response.capabilities & capability::SERVER;
        output.mariadb = response.attributes.iter().any(|(key, value)| key == "_client_name" && value == "libmariadb");
        let plugin = response.plugin.as_deref().unwrap_or(NATIVE_PASSWORD);
        if !auth::understands(plugin) {
            let Some(token) = self.switch_plugin(output, nonce).await? else { return Ok(None) };
            response.token = token;
        }
        Ok(self.admit(output, &response.user, &response.token).then_some(response))
    }

    /// Asks for an answer to `nonce` by our plugin.
    async fn switch_plugin(&self, output: &mut Output, nonce: &[u8; NONCE_BYTES]) -> Result<Option<Vec<u8>>, Ended> {
        output.packet(|out| encode_auth_switch(out, NATIVE_PASSWORD, nonce));
        output.flush().await?;
        let Some(packet) = self.packet(output).await? else { return Ok(None) };
        output.answer(packet.last);
        Ok(Some(packet.payload.to_vec()))
    }

    /// Whether the token is the user's; if not, the client is told.
    fn admit(&self, output: &mut Output, user: &str, token: &[u8]) -> bool {
        if auth::account(user).is_some_and(|account| auth::accepts(&account, token)) {
            return true;
        }
        count(&self.socket.stats().logins_refused, 1);
        let using_password = if token.is_empty() { "NO" } else { "YES" };
        output.error(&EngineError::access_denied(user, self.socket.host(), using_password));
        false
    }

    async fn open(&self, output: &mut Output, slot: SessionSlot, response: HandshakeResponse) -> Option<Rc<Session>> {
        let info = ConnectInfo {
            user: response.user,
            peer: self.socket.peer().to_string(),
            database: response.database,
            kind: ConnectionKind::Mysql,
        };
        let socket = self.socket.clone();
        let hang_up = Box::new(move || socket.hang_up());
        match Session::open(&self.core, slot, info, hang_up).await {
            Ok(session) => {
                self.session.replace(Some(session.clone()));
                Some(session)
            }
            Err(error) => {
                output.error(&error);
                None
            }
        }
    }

    async fn serve_commands(&self, commands: &mut Commands<'_>) -> Result<(), Ended> {
        loop {
            // Answers of pipelined commands leave together.
            if !self.inbox.has_next() || commands.output.is_full() {
                commands.output.flush().await?;
            }
            self.socket.wait_for_client(IDLE_MAX);
            let packet = match self.inbox.next().await {
                Ok(packet) => packet,
                Err(End::Closed) => return Ok(()),
                Err(End::Wire(error)) => {
                    commands.output.answer(0);
                    commands.output.error(&unfollowable(&error));
                    return Err(Ended::Unfollowable);
                }
            };
            self.socket.client_came();
            if packet.first != 0 {
                let error = WireError::OutOfOrder { expected: 0, found: packet.first };
                commands.output.answer(packet.last);
                commands.output.error(&unfollowable(&error));
                return Err(Ended::Unfollowable);
            }
            count(&self.socket.stats().commands, 1);
            commands.output.answer(packet.last);
            match Command::decode(&packet.payload) {
                Ok(Command::ChangeUser(change)) => {
                    if !self.change_user(commands, change).await? {
                        return Ok(());
                    }
                }
                Ok(command) => commands.run(command).await?,
                Err(error) => commands.output.error(&malformed(&error)),
            }
        }
    }

    /// COM_CHANGE_USER: always a new nonce, as clients differ in which one they answer; then the session begins anew.
    async fn change_user(&self, commands: &mut Commands<'_>, change: ChangeUser) -> Result<bool, Ended> {
        let nonce = auth::nonce()?;
        self.socket.wait_for_client(LOGIN_MAX);
        let Some(token) = self.switch_plugin(commands.output, &nonce).await? else { return Ok(false) };
        if !self.admit(commands.output, &change.user, &token) {
            return Ok(false);
        }
        self.socket.client_came();
        commands.reset();
        commands.session.leave_database();
        let entered = match &change.database {
            Some(database) => commands.session.init_db(database).await,
            None => Ok(()),
        };
        match entered {
            Ok(()) => commands.ok(),
            Err(error) => commands.output.error(&error),
        }
        Ok(true)
    }

    /// The next packet of the login; `None` when the client left.
    async fn packet(&self, output: &mut Output) -> Result<Option<Packet>, Ended> {
        match self.inbox.next().await {
            Ok(packet) => Ok(Some(packet)),
            Err(End::Closed) => Ok(None),
            Err(End::Wire(error)) => {
                output.error(&unfollowable(&error));
                Err(Ended::Unfollowable)
            }
        }
    }
}

/// Bytes that make no packets: the last thing said on a connection.
fn unfollowable(error: &WireError) -> EngineError {
    match error {
        WireError::TooLarge { .. } => too_large(),
        WireError::OutOfOrder { .. } => EngineError::new(1156, b"08S01", format!("Got packets out of order: {error}")),
        WireError::Malformed(_) => malformed(error),
    }
}

fn bad_handshake(error: &WireError) -> EngineError {
    let hint = "the server speaks protocol 4.1 without TLS";
    EngineError::new(1043, b"08S01", format!("Bad handshake: {error}; {hint}"))
}

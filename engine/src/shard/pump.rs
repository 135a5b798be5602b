//! The pumps of a core: one task per lane that takes messages out and hands them to their handlers. A pump never waits on another core
//! (R8): control handlers are plain functions; requests run as tasks of their own, bounded where they hold memory.

use std::rc::Rc;

use super::Core;
use super::message::{Control, Query, Request};
use super::{handle_report, handle_stage, handle_turns};
use crate::exec;
use crate::limits::{PUMP_BATCH, STAGES_IN_FLIGHT_MAX};
use crate::runtime::Class;
use crate::runtime::event::Permits;
use crate::runtime::fatal::fatal;
use crate::runtime::mailbox::Inbox;
use crate::txn::{Sequencer, ddl, labels};

/// Starts the pumps. They end when the node drops the lanes.
pub(super) fn start(core: &Rc<Core>, inbox: Inbox) {
    core.spawn_vital(Class::Control, "control pump", control(core.clone(), inbox.control));
    core.spawn_vital(Class::Control, "request pump", requests(core.clone(), inbox.requests));
    core.spawn_vital(Class::Control, "query pump", queries(core.clone(), inbox.queries));
}

async fn control(core: Rc<Core>, lane: flume::Receiver<Control>) {
    while let Ok(first) = lane.recv_async().await {
        handle_control(&core, first);
        lane.try_iter().take(PUMP_BATCH).for_each(|message| handle_control(&core, message));
        glommio::executor().yield_task_queue_now().await;
    }
}

async fn requests(core: Rc<Core>, lane: flume::Receiver<Request>) {
    let stages = Permits::new(STAGES_IN_FLIGHT_MAX);
    while let Ok(request) = lane.recv_async().await {
        let own = core.clone();
        match request {
            Request::Stage(stage) => {
                // Stages wait for this core's device only, so waiting for one here cannot make a circle.
                let permit = stages.take().await;
                core.spawn(Class::Load, "stage", async move {
                    handle_stage::handle(&own, stage).await;
                    drop(permit);
                });
            }
            Request::Turns(turns) => {
                core.spawn(Class::Publish, "turns", async move { handle_turns::handle(&own, turns).await });
            }
            Request::Label(label) => {
                core.spawn(Class::Publish, "label", async move { labels::handle(&own, label).await });
            }
            Request::Ddl { op, reply } => {
                core.spawn(Class::Control, "ddl", async move { reply.send(ddl::run(&own, &op).await) });
            }
        }
    }
}

async fn queries(core: Rc<Core>, lane: flume::Receiver<Query>) {
    while let Ok(Query::Fragment(fragment)) = lane.recv_async().await {
        exec::start(&core, fragment);
    }
}

/// Handles one control message. Never waits.
pub(super) fn handle_control(core: &Rc<Core>, message: Control) {
    match message {
        Control::Number { participants, reply } => reply.send(sequencer(core).number(&participants)),
        Control::Publish(publish) => core.applier.submit(publish),
        Control::Applied { seq, reply } => {
            let sequencer = sequencer(core);
            sequencer.applied(seq);
            sequencer.await_visible(seq, reply);
        }
        Control::AwaitVisible { seq, reply } => sequencer(core).await_visible(seq, reply),
        Control::Abort { txn } => {
            handle_stage::abort(core, txn);
            core.labels().release(txn);
            core.held_turns.release(txn, None);
        }
        Control::ReleaseShares { txn } => core.staged.release_shares(txn),
        Control::ReleaseTurns { txn, issued } => core.held_turns.release(txn, issued),
        Control::LastWritten { tablets, reply } => reply.send(core.tablets.last_written(&tablets)),
        Control::Kill { id, query_only, reply } => reply.send(core.sessions().kill(id, query_only)),
        Control::ProcessList { reply } => reply.send(core.sessions().list()),
        Control::Report { reply } => reply.send(handle_report::report(core)),
        Control::FlushedThrough { reply } => reply.send(handle_report::flushed_through(core)),
        Control::Flush { tablets } => core.flush_soon(tablets),
        Control::ExpirePins { age } => core.expire_pins(age),
        Control::Run(work) => work(core),
    }
}

fn sequencer(core: &Core) -> &Sequencer {
    match &core.sequencer {
        Some(sequencer) => sequencer,
        None => fatal(format!("a message for the sequencer reached core {}", core.id())),
    }
}

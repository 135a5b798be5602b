//! Switches for the tests that show why a rule of the protocol is there: with a rule off, the power-loss test must fail. In the product
//! [`off`] is a constant `false` and the branch is gone.

/// A rule that a test can switch off; the names are those of the protocol and of its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), expect(dead_code, reason = "only tests switch rules off"))]
pub(crate) enum Rule {
    /// R1: one record in the coordinator's log.
    SplitRecord,
    /// R2: nothing fails after the number.
    FailAfterNumber,
    /// R4: publish follows the record's fdatasync.
    PublishUnsynced,
    /// R4: a core applies in the order of the numbers issued to it.
    NoPrev,
    /// R5: W moves when every number up to it is applied.
    WGap,
    /// R5: the answer follows W.
    AckEarly,
    /// R15: files are synced before the edit.
    FileUnsynced,
    /// R3: groups are written and synced one after the other.
    SyncAny,
    /// R5: nothing above W is flushed.
    FlushAboveW,
    /// R6: keys written since p are looked up again.
    NoRedo,
    /// R6: also after a flush.
    RedoMemoryOnly,
    /// R12: deaths above F are not folded.
    FoldAboveF,
    /// R14: deaths above the c of a running rewrite are not folded.
    RewriteUnpinned,
    /// R14: snapshots below c read the inputs.
    SwitchOld,
    /// R14: deaths since c are carried over to the outputs.
    NoTranslate,
    /// R14: positions of staged transactions are translated.
    StagedStale,
    /// R15: edits carry delete entries of all files.
    EditNoDels,
    /// R15: also those of the outputs.
    EditOthersOnly,
    /// R15: an edit carries F as it is when the edit is built.
    StaleF,
    /// R15: the log goes after the edit is synced.
    DropEarly,
    /// R15: on every core.
    DropLocal,
    /// R15: under a mark that stands outside.
    DropUnmarked,
    /// R15: replay is by the F of each tablet.
    FPerCore,
    /// R16: logs that were read are synced.
    NoResync,
    /// R16: manifests that were read are synced, and what they said is synced under the new generation.
    NoResyncEdit,
    /// R16: the root keeps the cuts of all epochs.
    LastCut,
    /// R16: the root keeps a cut.
    NoCut,
    /// R16: marks are taken from manifests too.
    WLogsOnly,
    /// R16: the cut is extended by consecutive numbers.
    NoExtend,
    /// R16: the cut stops at a gap.
    NoGap,
    /// R17: the root switches after the checkpoint.
    SwitchFirst,
}

#[cfg(test)]
impl Rule {
    /// Those that the power-loss test shows; the tablet's tests show the others.
    pub(crate) const ALL: [Rule; 24] = [
        Rule::SplitRecord,
        Rule::FailAfterNumber,
        Rule::PublishUnsynced,
        Rule::NoPrev,
        Rule::WGap,
        Rule::AckEarly,
        Rule::FlushAboveW,
        Rule::FileUnsynced,
        Rule::SyncAny,
        Rule::EditNoDels,
        Rule::EditOthersOnly,
        Rule::StaleF,
        Rule::DropEarly,
        Rule::DropLocal,
        Rule::DropUnmarked,
        Rule::FPerCore,
        Rule::NoResync,
        Rule::NoResyncEdit,
        Rule::LastCut,
        Rule::NoCut,
        Rule::WLogsOnly,
        Rule::NoExtend,
        Rule::NoGap,
        Rule::SwitchFirst,
    ];
}

#[cfg(test)]
thread_local! {
    static OFF: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) };
}

/// Whether a rule is switched off.
#[cfg(test)]
pub(crate) fn off(rule: Rule) -> bool {
    OFF.get() == Some(rule)
}

/// Whether a rule is switched off: never.
#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn off(_rule: Rule) -> bool {
    false
}

/// Runs `f` with one rule switched off.
#[cfg(test)]
pub(crate) fn without<R>(rule: Option<Rule>, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Rule>);
    impl Drop for Restore {
        fn drop(&mut self) {
            OFF.set(self.0);
        }
    }
    let _restore = Restore(OFF.replace(rule));
    f()
}

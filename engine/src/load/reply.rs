//! The reply to a Stream Load: always HTTP 200, errors in `Status` (StarRocks 4.1), keys in StarRocks' order.

use crate::error::LabelStatus;

/// What became of a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Committed and visible.
    Success,
    /// Committed, not visible in time.
    PublishTimeout,
    /// The label was used before.
    LabelExists(LabelStatus),
    /// Nothing was loaded.
    Fail,
}

/// The reply. Times in milliseconds.
#[derive(Clone, Debug)]
pub struct Reply {
    /// -1 where no transaction began.
    pub txn: i64,
    /// The label, the client's or generated.
    pub label: String,
    /// What became of it.
    pub status: Status,
    /// `OK`, or why not.
    pub message: String,
    /// Loaded, filtered and unselected rows together.
    pub total_rows: u64,
    /// Rows that are in the table.
    pub loaded_rows: u64,
    /// Rows rejected.
    pub filtered_rows: u64,
    /// Bytes of the body.
    pub bytes: u64,
    /// From the request's headers to the reply.
    pub total_ms: u64,
    /// Beginning the transaction.
    pub begin_ms: u64,
    /// Waiting for the body.
    pub read_ms: u64,
    /// Parsing and staging.
    pub write_ms: u64,
    /// Commit to visible.
    pub commit_ms: u64,
    /// Where the rejected rows are shown.
    pub error_url: Option<String>,
}

impl Reply {
    /// A failure before anything began.
    pub fn fail(label: &str, message: impl Into<String>) -> Reply {
        Reply {
            txn: -1,
            label: label.to_string(),
            status: Status::Fail,
            message: message.into(),
            total_rows: 0,
            loaded_rows: 0,
            filtered_rows: 0,
            bytes: 0,
            total_ms: 0,
            begin_ms: 0,
            read_ms: 0,
            write_ms: 0,
            commit_ms: 0,
            error_url: None,
        }
    }

    /// The same with the label that the client gave.
    pub(super) fn with_label(mut self, label: &str) -> Reply {
        self.label = label.to_string();
        self
    }

    /// The body of the response.
    pub fn to_json(&self) -> String {
        let mut json = Json::default();
        json.number("TxnId", self.txn);
        json.text("Label", &self.label);
        json.text("Status", self.status_word());
        if let Status::LabelExists(status) = self.status {
            json.text("ExistingJobStatus", status.word());
        }
        json.text("Message", &self.message);
        for (key, value) in [
            ("NumberTotalRows", self.total_rows),
            ("NumberLoadedRows", self.loaded_rows),
            ("NumberFilteredRows", self.filtered_rows),
            ("NumberUnselectedRows", 0),
            ("LoadBytes", self.bytes),
            ("LoadTimeMs", self.total_ms),
            ("BeginTxnTimeMs", self.begin_ms),
            ("StreamLoadPlanTimeMs", 0),
            ("ReadDataTimeMs", self.read_ms),
            ("WriteDataTimeMs", self.write_ms),
            ("CommitAndPublishTimeMs", self.commit_ms),
        ] {
            json.number(key, value as i64);
        }
        if let Some(url) = &self.error_url {
            json.text("ErrorURL", url);
        }
        json.end()
    }

    fn status_word(&self) -> &'static str {
        match self.status {
            Status::Success => "Success",
            Status::PublishTimeout => "Publish Timeout",
            Status::LabelExists(_) => "Label Already Exists",
            Status::Fail => "Fail",
        }
    }
}

/// A flat JSON object, pretty-printed as StarRocks does.
#[derive(Default)]
struct Json(String);

impl Json {
    fn key(&mut self, key: &str) {
        self.0.push_str(if self.0.is_empty() { "{\n    \"" } else { ",\n    \"" });
        self.0.push_str(key);
        self.0.push_str("\": ");
    }

    fn number(&mut self, key: &str, value: i64) {
        self.key(key);
        self.0.push_str(&value.to_string());
    }

    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.0.push('"');
        for c in value.chars() {
            match c {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                '\n' => self.0.push_str("\\n"),
                c if (c as u32) < 0x20 => self.0.push_str(&format!("\\u{:04x}", c as u32)),
                c => self.0.push(c),
            }
        }
        self.0.push('"');
    }

    fn end(mut self) -> String {
        self.0.push_str("\n}\n");
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_order_and_text_escaped() {
        let json = Reply::fail("l\"1", "bad\nrow\u{1}").to_json();
        let keys: Vec<&str> = json.lines().filter_map(|line| line.trim().split('"').nth(1)).collect();
        assert_eq!(keys[..5], ["TxnId", "Label", "Status", "Message", "NumberTotalRows"]);
        assert_eq!(keys[keys.len() - 1], "CommitAndPublishTimeMs");
        assert!(json.contains(r#""Label": "l\"1""#) && json.contains(r#"bad\nrow\u0001"#), "{json}");
    }
}

//! Who may connect: root without a password, until users are built. The server listens on 127.0.0.1 unless told otherwise for just
//! this reason.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};

use starling_wire::auth::{self, CACHING_SHA2_PASSWORD, NATIVE_PASSWORD, NONCE_BYTES};

thread_local! {
    static RANDOM: RefCell<Option<File>> = const { RefCell::new(None) };
}

/// The nonce of one handshake.
pub fn nonce() -> io::Result<[u8; NONCE_BYTES]> {
    let mut bytes = [0; NONCE_BYTES];
    RANDOM.with_borrow_mut(|random| {
        let file = match random {
            Some(file) => file,
            None => random.insert(File::open("/dev/urandom")?),
        };
        file.read_exact(&mut bytes)
    })?;
    Ok(auth::nonce_from(bytes))
}

/// How an account proves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secret {
    /// Anyone who names it.
    NoPassword,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub name: &'static str,
    pub secret: Secret,
}

/// The account of that name. Names of users are compared as written.
pub fn account(user: &str) -> Option<Account> {
    (user == "root").then_some(Account { name: "root", secret: Secret::NoPassword })
}

/// Whether `token`, made by `plugin` over a nonce, is this account's.
pub fn accepts(account: &Account, token: &[u8]) -> bool {
    match account.secret {
        Secret::NoPassword => auth::is_empty_password(token),
    }
}

/// Whether `password`, sent as it is (HTTP Basic), is this account's.
pub fn accepts_password(account: &Account, password: &str) -> bool {
    match account.secret {
        Secret::NoPassword => password.is_empty(),
    }
}

/// Whether the server understands answers of this plugin; otherwise the client is asked to switch.
pub fn understands(plugin: &str) -> bool {
    matches!(plugin, NATIVE_PASSWORD | CACHING_SHA2_PASSWORD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_needs_no_password_and_others_do_not_exist() {
        let root = account("root").unwrap();
        assert!(accepts(&root, &[]) && accepts(&root, &[0]));
        assert!(!accepts(&root, &auth::native_token(b"guess", &nonce().unwrap())));
        assert_eq!(account("Root"), None);
        assert_eq!(account(""), None);
    }

    #[test]
    fn nonces_differ() {
        assert_ne!(nonce().unwrap(), nonce().unwrap());
    }
}

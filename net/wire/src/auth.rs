//! Scrambles of the two password plugins. Nothing here keeps a password: the server holds double hashes, the client
//! answers the server's nonce.

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The plugin announced in the greeting; the most portable one.
pub const NATIVE_PASSWORD: &str = "mysql_native_password";
/// The default plugin of MySQL 8 clients and the only one of MySQL 9's.
pub const CACHING_SHA2_PASSWORD: &str = "caching_sha2_password";

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 20;

fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    let mut hash = Sha1::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

fn xor<const N: usize>(a: [u8; N], b: [u8; N]) -> [u8; N] {
    std::array::from_fn(|i| a[i] ^ b[i])
}

/// What a server stores of a password for `mysql_native_password`: SHA1(SHA1(password)).
pub fn native_stored(password: &[u8]) -> [u8; 20] {
    sha1(&[&sha1(&[password])])
}

/// What a client answers for `mysql_native_password`; nothing for an empty password.
pub fn native_token(password: &[u8], nonce: &[u8; NONCE_BYTES]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    xor(sha1(&[password]), sha1(&[nonce, &native_stored(password)])).to_vec()
}

/// Whether `token` answers `nonce` for the stored double hash.
pub fn native_accepts(token: &[u8], nonce: &[u8; NONCE_BYTES], stored: &[u8; 20]) -> bool {
    let Ok(token) = <[u8; 20]>::try_from(token) else { return false };
    let password_hash = xor(token, sha1(&[nonce, stored]));
    equal(&sha1(&[&password_hash]), stored)
}

/// What a server stores for the fast path of `caching_sha2_password`: SHA256(SHA256(password)).
pub fn sha2_stored(password: &[u8]) -> [u8; 32] {
    sha256(&[&sha256(&[password])])
}

/// What a client answers for `caching_sha2_password`; nothing for an empty password.
pub fn sha2_token(password: &[u8], nonce: &[u8; NONCE_BYTES]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    xor(sha256(&[password]), sha256(&[&sha2_stored(password), nonce])).to_vec()
}

/// Whether `token` answers `nonce` for the stored double hash.
pub fn sha2_accepts(token: &[u8], nonce: &[u8; NONCE_BYTES], stored: &[u8; 32]) -> bool {
    let Ok(token) = <[u8; 32]>::try_from(token) else { return false };
    let password_hash = xor(token, sha256(&[stored, nonce]));
    equal(&sha256(&[&password_hash]), stored)
}

/// Whether the answer says "no password": empty, or the lone NUL that `caching_sha2_password` clients send for it.
pub fn is_empty_password(token: &[u8]) -> bool {
    token.is_empty() || token == [0]
}

/// Equality in time that does not depend on where the bytes differ.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

/// Makes a nonce of 20 random bytes: old client libraries stop at a NUL and treat `$` as a separator, so neither occurs.
pub fn nonce_from(random: [u8; NONCE_BYTES]) -> [u8; NONCE_BYTES] {
    random.map(|byte| match byte & 0x7F {
        0 => 1,
        b'$' => b'%',
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; 20] = *b"abcdefghijklmnopqrst";

    #[test]
    fn stored_hash_is_what_mysql_prints() {
        // SELECT PASSWORD('secret') in MariaDB: *14E65567ABDB5135D0CFD9A70B3032C179A49EE7
        let hex: String = native_stored(b"secret").iter().map(|b| format!("{b:02X}")).collect();
        assert_eq!(hex, "14E65567ABDB5135D0CFD9A70B3032C179A49EE7");
    }

    #[test]
    fn tokens_are_accepted_for_the_right_password_only() {
        let token = native_token(b"secret", &NONCE);
        assert!(native_accepts(&token, &NONCE, &native_stored(b"secret")));
        assert!(!native_accepts(&token, &NONCE, &native_stored(b"other")));
        assert!(!native_accepts(&token, b"tsrqponmlkjihgfedcba", &native_stored(b"secret")));
        assert!(!native_accepts(&[], &NONCE, &native_stored(b"secret")));
        let token = sha2_token(b"secret", &NONCE);
        assert!(sha2_accepts(&token, &NONCE, &sha2_stored(b"secret")));
        assert!(!sha2_accepts(&token, &NONCE, &sha2_stored(b"other")));
        assert!(!sha2_accepts(&token[..31], &NONCE, &sha2_stored(b"secret")));
    }

    #[test]
    fn empty_passwords_answer_nothing() {
        assert!(native_token(b"", &NONCE).is_empty());
        assert!(is_empty_password(&sha2_token(b"", &NONCE)));
        assert!(is_empty_password(&[0]));
        assert!(!is_empty_password(&[1]));
    }

    #[test]
    fn nonces_hold_no_nul_and_no_dollar() {
        let nonce = nonce_from(std::array::from_fn(|i| [0, b'$', 0x80, 0xA4, 65][i % 5]));
        assert!(nonce.iter().all(|b| *b != 0 && *b != b'$' && *b < 0x80));
    }
}

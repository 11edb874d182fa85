//! The Redis tier over TLS, with a certificate made for the test, and with a password.

use crate::redis::{Server, on_tokio};
use mainspring_cache_tier::{BytesCodec, Clock, EntryOptions, Key, RedisTier, TieredCache};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// A certificate for the loopback address that is its own authority; false, and says so, without `openssl`.
fn certificate(folder: &Path) -> bool {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=test"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let made = made.is_ok_and(|status| status.success());
    if !made {
        println!("skipped: no openssl to make a certificate with");
    }
    made
}

#[test]
fn entries_go_over_tls_to_a_server_that_is_known_and_to_no_other() {
    let folder = tempfile::tempdir().unwrap();
    if !certificate(folder.path()) {
        return;
    }
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (cert, secret) = (path("cert.pem"), path("key.pem"));
    let tls = [
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &secret,
        "--tls-ca-cert-file",
        &cert,
        "--tls-auth-clients",
        "no",
        "--requirepass",
        "secret",
    ];
    let Some(server) = Server::start_tls(&tls) else {
        return;
    };
    on_tokio(async {
        let authority = std::fs::read(&cert).unwrap();
        let timeout = Duration::from_secs(5);
        let open = async |password: &str, authority: &[u8]| {
            let url = format!("rediss://:{password}@127.0.0.1:{}/0", server.port());
            let clock = Clock::system();
            let tier = RedisTier::open_trusting(&url, "test", authority, timeout, clock).unwrap();
            let builder = TieredCache::<String>::builder(BytesCodec).tier(Arc::new(tier));
            builder.open().await
        };
        let cache = open("secret", &authority).await.unwrap();
        let key = Key::new("s", "k");
        let options = EntryOptions::new();
        cache.insert(&key, "v".into(), &options).await.unwrap();
        cache.clear_memory();
        assert_eq!(cache.get(&key).await.as_deref(), Some("v"));
        assert!(open("wrong", &authority).await.is_err(), "another password");
        let other = tempfile::tempdir().unwrap();
        assert!(certificate(other.path()));
        let stranger = std::fs::read(other.path().join("cert.pem")).unwrap();
        assert!(
            open("secret", &stranger).await.is_err(),
            "another authority"
        );
        let url = format!("rediss://:secret@127.0.0.1:{}/0", server.port());
        let tier = RedisTier::open(&url, "test").unwrap();
        let builder = TieredCache::<String>::builder(BytesCodec).tier(Arc::new(tier));
        assert!(builder.open().await.is_err(), "unknown to the system");
    });
}

//! What the supervisor asks for, one line each.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{Pace, Server};

/// Follows the supervisor's lines until `stop`, or until it is gone.
pub(super) async fn listen(server: &Arc<Server>) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut words = line.split_whitespace();
        match (
            words.next(),
            words.next().and_then(|word| word.parse::<i64>().ok()),
        ) {
            (Some("stop"), _) => return,
            (Some("rest"), _) => {
                server.pace.send_replace(Pace::Rest);
                all_rest(server).await;
                server.tell.server("resting");
            }
            (Some("work"), _) => {
                server.pace.send_replace(Pace::Work);
            }
            (Some("clock"), Some(ahead)) => server.set_clock(ahead),
            (Some("ballast"), Some(mib)) => {
                tokio::spawn(ballast(mib.unsigned_abs() as usize));
            }
            _ => {}
        }
    }
}

async fn all_rest(server: &Server) {
    while server.resting.load(Ordering::Relaxed) < server.arguments.sessions as usize {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Holds memory that is really there for a while.
async fn ballast(mib: usize) {
    let held = vec![0x5a_u8; mib << 20];
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop(std::hint::black_box(held));
}

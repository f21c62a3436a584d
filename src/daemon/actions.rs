//! Carries out what the coordinator decides.

use std::path::PathBuf;

use super::{Daemon, OnRevoked};
use crate::coordinator::Action;
use crate::domain::severity::Severity;
use crate::protocol::Command;
use crate::protocol::server_url::ServerUrl;

impl Daemon {
    pub(super) fn apply(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::CallRest(call) => self.rest_timer.at(call),
                Action::Cancel { meeting } => self.rest_timer.cancel(meeting),
                Action::Start(plan) => self.start_stream(*plan),
                Action::StartLater { at, stream_id } => self.later.push((at, stream_id)),
                Action::FailOver { stream_id, urls } => {
                    match ServerUrl::all(&urls, &self.settings.allowed_hosts) {
                        Ok(urls) => {
                            if !self.send_command(&stream_id, Command::FailOver(urls)) {
                                self.revive.insert(stream_id);
                            }
                        }
                        Err(error) => {
                            log::error!("failover ignored stream={stream_id}: {error}");
                        }
                    }
                }
                Action::Interrupted {
                    stream_id,
                    event_ts_ms,
                    urls,
                } => {
                    let urls = ServerUrl::all(&urls, &self.settings.allowed_hosts);
                    let urls = urls.unwrap_or_default();
                    self.send_command(&stream_id, Command::Interrupted { event_ts_ms, urls });
                }
                Action::Stopped { stream_id, reason } => {
                    self.send_command(&stream_id, Command::Stopped(reason));
                }
                Action::Complete { info, end } => self.complete(&info, &end),
                Action::HandOver { info, heir } => self.hand_over(info, heir),
                Action::Discard(withdrawal) => {
                    self.tell_withdrawn(&withdrawal);
                    // The intent log still has the ids that are to be forgotten.
                    if let Some(snapshot) = &mut self.snapshot {
                        snapshot.demand();
                    }
                    self.media.revoke(&withdrawal.stream_id);
                    let roots = self.coordinator.roots().iter().map(PathBuf::from);
                    match (&self.disk, self.settings.on_revoked) {
                        (Some(disk), OnRevoked::Delete) => {
                            disk.discard(withdrawal, roots.collect());
                        }
                        (Some(disk), OnRevoked::Keep) => {
                            log::error!(
                                "consent was withdrawn, and RTMS_ON_REVOKED=keep keeps the files stream={}",
                                withdrawal.stream_id
                            );
                            disk.revoke(withdrawal, roots.collect());
                        }
                        (None, _) => {}
                    }
                }
                Action::Deauthorized {
                    user_id,
                    account_id,
                } => {
                    if let Some(disk) = &self.disk {
                        disk.deauthorized(user_id.clone(), account_id.clone());
                    }
                    self.rest_timer.deauthorized(user_id, account_id);
                }
                Action::Log(severity, text) => log::log!(log_level(severity), "{text}"),
            }
        }
    }
}

pub(super) fn log_level(severity: Severity) -> log::Level {
    match severity {
        Severity::Error => log::Level::Error,
        Severity::Warn => log::Level::Warn,
        Severity::Info => log::Level::Info,
        Severity::Debug => log::Level::Debug,
    }
}

//! Grants, by the model of the demo.

use super::*;
use crate::coordinator::fleet::call::Member;
use crate::demo::fleet_store::Model;

fn codec(boot: u64) -> Codec {
    let node = "a".to_owned();
    let boot = Boot(boot);
    Codec::new("client", "client secret", "default", Member { node, boot })
}

fn tokens(n: u64) -> Tokens {
    Tokens {
        access: Secret::new(format!("access {n}")),
        expires_ms: 1_764_000_000_000 + n,
        refresh: Secret::new(format!("refresh {n}")),
    }
}

struct Store(Model, u64);

impl Store {
    fn ask(&mut self, boot: u64, call: &GrantCall) -> GrantReply {
        let codec = codec(boot);
        let value = self.0.call(self.1, &codec.encode_grant("g", call));
        codec.decode_grant("g", &value)
    }
}

fn put(n: u64) -> GrantCall {
    GrantCall::Put {
        generation: n,
        tokens: tokens(n),
    }
}

fn restore(n: u64) -> GrantCall {
    GrantCall::Restore {
        generation: n,
        tokens: tokens(n),
    }
}

#[test]
fn one_process_refreshes_and_all_have_its_tokens() {
    let mut store = Store(Model::new(), 1_764_000_000_000);
    let none = Grant {
        generation: 0,
        tokens: None,
        lock: None,
        is_forgotten: false,
    };
    assert_eq!(
        store.ask(1, &GrantCall::Read),
        GrantReply::Read(none.clone())
    );
    let locked = Grant {
        lock: Some((Boot(1), LOCK)),
        ..none
    };
    assert_eq!(
        store.ask(1, &GrantCall::Lock),
        GrantReply::Locked(locked.clone())
    );
    assert_eq!(store.ask(2, &GrantCall::Lock), GrantReply::Busy(locked));
    assert_eq!(store.ask(2, &put(1)), GrantReply::Refused { generation: 0 });
    assert_eq!(store.ask(1, &put(2)), GrantReply::Refused { generation: 0 });
    // Its reply was lost: made again.
    assert_eq!(store.ask(1, &put(1)), GrantReply::Put);
    assert_eq!(store.ask(1, &put(1)), GrantReply::Put);
    let GrantReply::Locked(found) = store.ask(2, &GrantCall::Lock) else {
        panic!("the lock was given back");
    };
    assert_eq!((found.generation, found.tokens), (1, Some(tokens(1))));
    // A holder that died holds it for so long and no longer.
    store.1 += 44_999;
    assert!(matches!(
        store.ask(3, &GrantCall::Lock),
        GrantReply::Busy(_)
    ));
    store.1 += 1;
    assert!(matches!(
        store.ask(3, &GrantCall::Lock),
        GrantReply::Locked(_)
    ));
    assert_eq!(store.ask(2, &put(2)), GrantReply::Refused { generation: 1 });
}

#[test]
fn a_store_that_lost_writes_gets_the_newest_tokens_again() {
    let mut store = Store(Model::new(), 1_764_000_000_000);
    assert_eq!(store.ask(1, &restore(7)), GrantReply::Put);
    assert_eq!(
        store.ask(2, &restore(6)),
        GrantReply::Refused { generation: 7 }
    );
    assert_eq!(store.ask(2, &restore(8)), GrantReply::Put);
    // What was forgotten does not come back by what a node has kept.
    assert_eq!(store.ask(2, &GrantCall::Forget), GrantReply::Forgotten);
    assert_eq!(
        store.ask(1, &restore(9)),
        GrantReply::Refused { generation: 8 }
    );
    let GrantReply::Locked(found) = store.ask(1, &GrantCall::Lock) else {
        panic!("not locked");
    };
    assert!(found.is_forgotten && found.tokens.is_none());
    assert_eq!(store.ask(1, &put(9)), GrantReply::Put);
    let GrantReply::Read(found) = store.ask(2, &GrantCall::Read) else {
        panic!("not read");
    };
    assert!(!found.is_forgotten && found.tokens == Some(tokens(9)));
}

#[test]
fn a_token_is_hidden_and_stays_in_its_place() {
    let codec = codec(1);
    let token = Secret::new("hunter2");
    let hidden = codec.hide("g", 1, "access", &token);
    assert!(!hidden.windows(7).any(|part| part == b"hunter2"));
    assert_eq!(codec.show("g", 1, "access", &hidden), Some(token.clone()));
    for (grant, generation, field) in [("h", 1, "access"), ("g", 2, "access"), ("g", 1, "refresh")]
    {
        assert_eq!(codec.show(grant, generation, field, &hidden), None);
    }
    let mut changed = hidden.clone();
    *changed.last_mut().expect("bytes") ^= 1;
    assert_eq!(codec.show("g", 1, "access", &changed), None);
    assert_eq!(codec.show("g", 1, "access", &hidden[..20]), None);
    let other = Codec::new("client", "another secret", "default", codec.me().clone());
    assert_eq!(other.show("g", 1, "access", &hidden), None);
    assert_eq!(
        codec.show(
            "g",
            1,
            "access",
            &codec.hide("g", 1, "access", &Secret::new(""))
        ),
        Some(Secret::new(""))
    );
}

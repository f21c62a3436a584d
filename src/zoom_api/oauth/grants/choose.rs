//! Which grant a call for an account is made with. Pure.
//!
//! | the call is for | used |
//! | --- | --- |
//! | an account with grants that work | these: the host's first, then the newest |
//! | an account without one | grants whose account is not known, then those of the account |
//! | the same, and there is only the one of the configuration | that one |
//! | the same otherwise | none: a user of the account must authorize the app |
//! | an account that is not known | the grants, if all are of one account |

use super::facts::Facts;
use super::facts::GrantState;

/// What the choice depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) facts: Facts,
    /// Its user has removed the app: it only says so.
    pub(crate) is_removed: bool,
    /// It came from the configuration, or from a version that knew only one grant.
    pub(crate) is_configured: bool,
}

impl Candidate {
    pub(super) fn works(&self) -> bool {
        !self.is_removed && self.facts.state == GrantState::Ok
    }
}

/// Why there is no grant for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lack {
    /// There is no grant at all.
    NoGrant,
    /// None of this account.
    Account,
    /// The account is not known, and there are several.
    Unnamed,
}

/// The places of the grants to use, the best first; there is at least one.
pub(crate) fn choose(
    grants: &[Candidate],
    account: Option<&str>,
    host: Option<&str>,
) -> Result<Vec<usize>, Lack> {
    if grants.is_empty() {
        return Err(Lack::NoGrant);
    }
    let Some(account) = account else {
        let first = &grants[0].facts.account_id;
        let is_one = grants.iter().all(|it| it.facts.account_id == *first);
        return match is_one {
            true => Ok(ordered(grants, host, |_| true)),
            false => Err(Lack::Unnamed),
        };
    };
    let is_own = |it: &Candidate| it.facts.account_id == account;
    let mut found = ordered(grants, host, |it| is_own(it) && it.works());
    found.extend(ordered(grants, host, |it| it.facts.account_id.is_empty()));
    found.extend(ordered(grants, host, |it| is_own(it) && !it.works()));
    if !found.is_empty() {
        return Ok(found);
    }
    match grants {
        [only] if only.is_configured => Ok(vec![0]),
        _ => Err(Lack::Account),
    }
}

/// The best of all grants, whatever their account.
pub(crate) fn best(grants: &[Candidate]) -> Option<usize> {
    ordered(grants, None, |_| true).first().copied()
}

fn ordered(
    grants: &[Candidate],
    host: Option<&str>,
    is_wanted: impl Fn(&Candidate) -> bool,
) -> Vec<usize> {
    let mut places: Vec<usize> = (0..grants.len())
        .filter(|place| is_wanted(&grants[*place]))
        .collect();
    places.sort_by_key(|place| {
        let grant = &grants[*place];
        let is_host = host.is_some_and(|host| host == grant.facts.user_id);
        let newest_ms = grant.facts.newest_ms();
        std::cmp::Reverse((!grant.is_removed, grant.works(), is_host, newest_ms))
    });
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(account: &str, user: &str, authorized_ms: u64) -> Candidate {
        Candidate {
            facts: Facts {
                account_id: account.to_owned(),
                user_id: user.to_owned(),
                authorized_ms,
                ..Facts::default()
            },
            is_removed: false,
            is_configured: false,
        }
    }

    fn broken(grant: Candidate) -> Candidate {
        let facts = Facts {
            state: GrantState::Revoked,
            ..grant.facts
        };
        Candidate { facts, ..grant }
    }

    #[test]
    fn each_account_has_its_own_grants() {
        let grants = [grant("a", "1", 1), grant("b", "2", 2), grant("a", "3", 3)];
        assert_eq!(choose(&grants, Some("a"), None), Ok(vec![2, 0]));
        assert_eq!(choose(&grants, Some("a"), Some("1")), Ok(vec![0, 2]));
        assert_eq!(choose(&grants, Some("b"), Some("1")), Ok(vec![1]));
        assert_eq!(choose(&grants, Some("c"), None), Err(Lack::Account));
        assert_eq!(choose(&grants, None, None), Err(Lack::Unnamed));
        assert_eq!(choose(&[], Some("a"), None), Err(Lack::NoGrant));
        assert_eq!(best(&grants), Some(2));
    }

    #[test]
    fn a_grant_that_works_comes_before_a_newer_one_that_does_not() {
        let removed = Candidate {
            is_removed: true,
            ..grant("a", "3", 9)
        };
        let grants = [grant("a", "1", 1), broken(grant("a", "2", 2)), removed];
        assert_eq!(choose(&grants, Some("a"), Some("2")), Ok(vec![0, 1, 2]));
        // One that does not work is used all the same where there is no other: its error says what to do.
        assert_eq!(choose(&grants[1..2], Some("a"), None), Ok(vec![0]));
    }

    #[test]
    fn a_grant_of_an_unknown_account_serves_those_without_one() {
        let grants = [grant("a", "1", 1), grant("", "", 2)];
        assert_eq!(choose(&grants, Some("a"), None), Ok(vec![0, 1]));
        assert_eq!(choose(&grants, Some("b"), None), Ok(vec![1]));
        assert_eq!(choose(&grants[1..], None, None), Ok(vec![0]));
        // Perhaps it is of the account whose own one does not work.
        let grants = [broken(grant("a", "1", 9)), grant("", "", 2)];
        assert_eq!(choose(&grants, Some("a"), None), Ok(vec![1, 0]));
    }

    #[test]
    fn the_only_grant_of_the_configuration_serves_every_account() {
        let configured = Candidate {
            is_configured: true,
            ..grant("a", "1", 1)
        };
        let grants = [configured, grant("b", "2", 1)];
        assert_eq!(choose(&grants[..1], Some("c"), None), Ok(vec![0]));
        assert_eq!(choose(&grants, Some("c"), None), Err(Lack::Account));
        // One that a user of another account gave serves only that account.
        assert_eq!(choose(&grants[1..], Some("c"), None), Err(Lack::Account));
    }
}

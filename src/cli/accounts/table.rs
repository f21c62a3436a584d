//! The page of `rtmsd accounts`: a line for each grant, and what to do behind it.

use super::Line;
use crate::cli::status::width;
use crate::domain::text::one_line;
use crate::domain::time::Utc;

/// Between two columns.
const GAP: &str = "  ";
/// The heads of the columns; behind the last one stand the scopes.
const HEADS: [&str; 6] = [
    "ACCOUNT",
    "USER",
    "AUTHORIZED",
    "LAST USE",
    "STATE",
    "SCOPES",
];

/// The grants in columns; a line below a grant says what to do about it.
pub(super) fn render(lines: &[Line<'_>]) -> String {
    if lines.is_empty() {
        return "no user has authorized the app yet; run rtmsd authorize\n".to_owned();
    }
    let rows: Vec<[String; 6]> = lines.iter().map(row).collect();
    let heads = HEADS.map(str::to_owned);
    let widths: [usize; 6] = std::array::from_fn(|at| {
        let cells = rows.iter().chain([&heads]).map(|row| width::of(&row[at]));
        cells.max().unwrap_or(0)
    });
    let mut page = String::new();
    push(&mut page, &heads, &widths);
    for (row, line) in rows.iter().zip(lines) {
        push(&mut page, row, &widths);
        if let Some(remedy) = &line.remedy {
            page += &format!("  {}\n", one_line(remedy));
        }
    }
    page
}

fn push(page: &mut String, row: &[String; 6], widths: &[usize; 6]) {
    let mut text = String::new();
    for (cell, width) in row.iter().zip(widths) {
        let padding = " ".repeat(width - width::of(cell));
        text.extend([cell.as_str(), &padding, GAP]);
    }
    page.push_str(text.trim_end());
    page.push('\n');
}

fn row(line: &Line<'_>) -> [String; 6] {
    let grant = line.grant;
    let state = match (line.missing_scopes.is_empty(), grant.state.remedy()) {
        (false, None) => "missing scope".to_owned(),
        _ => grant.state.name().replace('_', " "),
    };
    let user = match grant.user.is_empty() {
        true => &grant.user_id,
        false => &grant.user,
    };
    [
        or_dash(&grant.account_id),
        or_dash(user),
        time(grant.authorized_ms),
        time(grant.used_ms),
        state,
        or_dash(&grant.scopes.join(" ")),
    ]
}

fn or_dash(text: &str) -> String {
    match text.is_empty() {
        true => "-".to_owned(),
        false => one_line(text).into_owned(),
    }
}

/// `2026-11-24 14:13`, in UTC.
fn time(ms: Option<u64>) -> String {
    let Some(ms) = ms else {
        return "-".to_owned();
    };
    let time = Utc::from_unix_ms(ms);
    format!("{} {}", time.date(), &time.clock()[..5])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zoom_api::{GrantState, GrantStatus};

    fn grant(account: &str, state: GrantState) -> GrantStatus {
        GrantStatus {
            account_id: account.to_owned(),
            user_id: "u1".to_owned(),
            user: "Ada <ada@example.com>".to_owned(),
            scopes: vec!["a".to_owned(), "b".to_owned()],
            authorized_ms: Some(1_795_529_580_000),
            used_ms: None,
            state,
            is_configured: false,
        }
    }

    #[test]
    fn a_line_for_each_and_what_to_do() {
        let (one, two) = (
            grant("acc1", GrantState::Ok),
            grant("acc22", GrantState::Revoked),
        );
        let line = |grant| Line {
            grant,
            missing_scopes: Vec::new(),
            remedy: None,
        };
        let broken = Line {
            remedy: Some("authorize again (rtmsd authorize)".to_owned()),
            ..line(&two)
        };
        assert_eq!(
            render(&[line(&one), broken]),
            "ACCOUNT  USER                   AUTHORIZED        LAST USE  STATE    SCOPES\n\
             acc1     Ada <ada@example.com>  2026-11-24 14:13  -         ok       a b\n\
             acc22    Ada <ada@example.com>  2026-11-24 14:13  -         revoked  a b\n  \
             authorize again (rtmsd authorize)\n"
        );
        assert!(render(&[]).contains("rtmsd authorize"));
    }

    #[test]
    fn a_missing_scope_is_a_state() {
        let (good, bare) = (grant("a", GrantState::Ok), grant("", GrantState::Ok));
        let lacks = Line {
            grant: &good,
            missing_scopes: vec!["x".to_owned()],
            remedy: None,
        };
        assert!(render(&[lacks]).contains("missing scope"));
        let bare = GrantStatus {
            user: String::new(),
            user_id: "\u{1b}[31m".to_owned(),
            ..bare
        };
        let line = Line {
            grant: &bare,
            missing_scopes: Vec::new(),
            remedy: None,
        };
        let page = render(&[line]);
        assert!(page.contains("\n-  ") && !page.contains('\u{1b}'), "{page}");
    }
}

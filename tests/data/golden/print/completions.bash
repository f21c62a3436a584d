_rtmsd() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words
  case $prev in
    --config|--out)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -f -- "$cur")
      return ;;
  esac
  case ${COMP_WORDS[1]} in
    serve) words="--config --help" ;;
    demo) words="--out --meetings --media --product --events --serve --chaos --nodes --store --odd --setup --help" ;;
    setup) words="--config --online --events --rest --set --help" ;;
    check) words="--config --online --app --live --ready --help" ;;
    authorize) words="--app --config --help" ;;
    accounts) words="--json --app --config --help" ;;
    start) words="--account --participant --product --json --app --config --help" ;;
    stop) words="--account --participant --product --json --app --config --help" ;;
    pause) words="--account --participant --product --json --app --config --help" ;;
    resume) words="--account --participant --product --json --app --config --help" ;;
    status) words="--fleet --json --watch --app --config --help" ;;
    tail) words="--follow --json --app --config --help" ;;
    tap) words="--speaker --format --app --config --help" ;;
    link) words="--for --files --revoke-all --config --app --help" ;;
    list) words="--since --speaker --json --app --config --help" ;;
    prune) words="--dry-run --now --json --app --config --help" ;;
    forget) words="--meeting --account --user --with-mixed --dry-run --json --app --config --help" ;;
    push) words="--from --stream --app --config --help test pause resume replay secret" ;;
    merge) words="--out --json --help" ;;
    mux) words="--out --format --picture --copy --force --dry-run --print --feed --help" ;;
    print) words="--help conf unit socket man man-conf schema metrics completions" ;;
    help) words="--help operating containers fleet connecting media delivery pages recipes troubleshooting privacy embedding tuning upgrading security contributing" ;;
    *) words="serve demo setup check authorize accounts start stop pause resume status tail tap link list prune forget push merge mux print help --config --help --version" ;;
  esac
  [ "$COMP_CWORD" = 1 ] && words="serve demo setup check authorize accounts start stop pause resume status tail tap link list prune forget push merge mux print help --config --help --version"
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -o default -F _rtmsd rtmsd

#compdef rtmsd
case ${words[CURRENT-1]} in
  --config|--out) _files; return ;;
esac
if (( CURRENT == 2 )); then
  compadd -- serve demo setup check authorize accounts start stop pause resume status tail tap link list prune push mux print help --config --help --version
  return
fi
case ${words[2]} in
  serve) compadd -- --config --help ;;
  demo) compadd -- --out --meetings --media --product --events --serve --chaos --odd --setup --help ;;
  setup) compadd -- --config --online --events --rest --set --help ;;
  check) compadd -- --config --online --live --ready --help ;;
  authorize) compadd -- --config --help ;;
  accounts) compadd -- --json --config --help ;;
  start) compadd -- --account --participant --product --json --config --help ;;
  stop) compadd -- --account --participant --product --json --config --help ;;
  pause) compadd -- --account --participant --product --json --config --help ;;
  resume) compadd -- --account --participant --product --json --config --help ;;
  status) compadd -- --json --watch --config --help ;;
  tail) compadd -- --follow --json --config --help ;;
  tap) compadd -- --speaker --format --config --help ;;
  link) compadd -- --for --files --config --revoke-all --help ;;
  list) compadd -- --since --speaker --json --config --help ;;
  prune) compadd -- --dry-run --now --json --config --help ;;
  push) compadd -- --config --from --stream --help test pause resume replay secret ;;
  mux) _files; compadd -- --out --format --picture --copy --force --dry-run --print --feed --help ;;
  print) compadd -- --help conf unit socket man man-conf schema metrics completions ;;
  help) compadd -- --help operating containers connecting media delivery pages recipes troubleshooting privacy embedding tuning upgrading security contributing ;;
  *) compadd -- serve demo setup check authorize accounts start stop pause resume status tail tap link list prune push mux print help --config --help --version ;;
esac

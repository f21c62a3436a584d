#compdef rtmsd
case ${words[CURRENT-1]} in
  --config|--out) _files; return ;;
esac
if (( CURRENT == 2 )); then
  compadd -- serve demo setup check authorize accounts start stop pause resume status tail tap link list prune forget push merge mux print help --config --help --version
  return
fi
case ${words[2]} in
  serve) compadd -- --config --help ;;
  demo) compadd -- --out --meetings --media --product --events --serve --chaos --nodes --store --odd --setup --help ;;
  setup) compadd -- --config --online --events --rest --set --help ;;
  check) compadd -- --config --online --app --live --ready --help ;;
  authorize) compadd -- --app --config --help ;;
  accounts) compadd -- --json --app --config --help ;;
  start) compadd -- --account --participant --product --json --app --config --help ;;
  stop) compadd -- --account --participant --product --json --app --config --help ;;
  pause) compadd -- --account --participant --product --json --app --config --help ;;
  resume) compadd -- --account --participant --product --json --app --config --help ;;
  status) compadd -- --fleet --json --watch --app --config --help ;;
  tail) compadd -- --follow --json --app --config --help ;;
  tap) compadd -- --speaker --format --app --config --help ;;
  link) compadd -- --for --files --revoke-all --config --app --help ;;
  list) compadd -- --since --speaker --json --app --config --help ;;
  prune) compadd -- --dry-run --now --json --app --config --help ;;
  forget) compadd -- --meeting --account --user --with-mixed --dry-run --json --app --config --help ;;
  push) compadd -- --from --stream --app --config --help test pause resume replay secret ;;
  merge) _files; compadd -- --out --json --help ;;
  mux) _files; compadd -- --out --format --picture --copy --force --dry-run --print --feed --help ;;
  print) compadd -- --help conf unit socket man man-conf schema metrics completions ;;
  help) compadd -- --help operating containers fleet connecting media delivery pages recipes troubleshooting privacy embedding tuning upgrading security contributing ;;
  *) compadd -- serve demo setup check authorize accounts start stop pause resume status tail tap link list prune forget push merge mux print help --config --help --version ;;
esac

complete -c rtmsd -f
complete -c rtmsd -n __fish_use_subcommand -a "serve demo setup check authorize start stop pause resume status tail link list push mux print help"
complete -c rtmsd -l help
complete -c rtmsd -n __fish_use_subcommand -l version
complete -c rtmsd -l config -r -F
complete -c rtmsd -l out -r -F
complete -c rtmsd -n "__fish_seen_subcommand_from mux" -F
complete -c rtmsd -n "__fish_seen_subcommand_from demo" -l meetings
complete -c rtmsd -n "__fish_seen_subcommand_from demo" -l media
complete -c rtmsd -n "__fish_seen_subcommand_from demo" -l product
complete -c rtmsd -n "__fish_seen_subcommand_from demo" -l events
complete -c rtmsd -n "__fish_seen_subcommand_from demo" -l serve
complete -c rtmsd -n "__fish_seen_subcommand_from demo" -l chaos
complete -c rtmsd -n "__fish_seen_subcommand_from demo" -l odd
complete -c rtmsd -n "__fish_seen_subcommand_from demo" -l setup
complete -c rtmsd -n "__fish_seen_subcommand_from setup" -l online
complete -c rtmsd -n "__fish_seen_subcommand_from setup" -l events
complete -c rtmsd -n "__fish_seen_subcommand_from setup" -l rest
complete -c rtmsd -n "__fish_seen_subcommand_from setup" -l set
complete -c rtmsd -n "__fish_seen_subcommand_from check" -l online
complete -c rtmsd -n "__fish_seen_subcommand_from start" -l participant
complete -c rtmsd -n "__fish_seen_subcommand_from start" -l product
complete -c rtmsd -n "__fish_seen_subcommand_from start" -l json
complete -c rtmsd -n "__fish_seen_subcommand_from stop" -l participant
complete -c rtmsd -n "__fish_seen_subcommand_from stop" -l product
complete -c rtmsd -n "__fish_seen_subcommand_from stop" -l json
complete -c rtmsd -n "__fish_seen_subcommand_from pause" -l participant
complete -c rtmsd -n "__fish_seen_subcommand_from pause" -l product
complete -c rtmsd -n "__fish_seen_subcommand_from pause" -l json
complete -c rtmsd -n "__fish_seen_subcommand_from resume" -l participant
complete -c rtmsd -n "__fish_seen_subcommand_from resume" -l product
complete -c rtmsd -n "__fish_seen_subcommand_from resume" -l json
complete -c rtmsd -n "__fish_seen_subcommand_from status" -l json
complete -c rtmsd -n "__fish_seen_subcommand_from status" -l watch
complete -c rtmsd -n "__fish_seen_subcommand_from tail" -l follow
complete -c rtmsd -n "__fish_seen_subcommand_from tail" -l json
complete -c rtmsd -n "__fish_seen_subcommand_from link" -l for
complete -c rtmsd -n "__fish_seen_subcommand_from link" -l files
complete -c rtmsd -n "__fish_seen_subcommand_from link" -l revoke-all
complete -c rtmsd -n "__fish_seen_subcommand_from list" -l since
complete -c rtmsd -n "__fish_seen_subcommand_from list" -l speaker
complete -c rtmsd -n "__fish_seen_subcommand_from list" -l json
complete -c rtmsd -n "__fish_seen_subcommand_from push" -l from
complete -c rtmsd -n "__fish_seen_subcommand_from push" -l stream
complete -c rtmsd -n "__fish_seen_subcommand_from push" -a test
complete -c rtmsd -n "__fish_seen_subcommand_from push" -a pause
complete -c rtmsd -n "__fish_seen_subcommand_from push" -a resume
complete -c rtmsd -n "__fish_seen_subcommand_from push" -a replay
complete -c rtmsd -n "__fish_seen_subcommand_from push" -a secret
complete -c rtmsd -n "__fish_seen_subcommand_from mux" -l format
complete -c rtmsd -n "__fish_seen_subcommand_from mux" -l picture
complete -c rtmsd -n "__fish_seen_subcommand_from mux" -l copy
complete -c rtmsd -n "__fish_seen_subcommand_from mux" -l force
complete -c rtmsd -n "__fish_seen_subcommand_from mux" -l dry-run
complete -c rtmsd -n "__fish_seen_subcommand_from mux" -l print
complete -c rtmsd -n "__fish_seen_subcommand_from mux" -l feed
complete -c rtmsd -n "__fish_seen_subcommand_from print" -a conf
complete -c rtmsd -n "__fish_seen_subcommand_from print" -a unit
complete -c rtmsd -n "__fish_seen_subcommand_from print" -a socket
complete -c rtmsd -n "__fish_seen_subcommand_from print" -a man
complete -c rtmsd -n "__fish_seen_subcommand_from print" -a man-conf
complete -c rtmsd -n "__fish_seen_subcommand_from print" -a schema
complete -c rtmsd -n "__fish_seen_subcommand_from print" -a metrics
complete -c rtmsd -n "__fish_seen_subcommand_from print" -a completions
complete -c rtmsd -n "__fish_seen_subcommand_from help" -a operating
complete -c rtmsd -n "__fish_seen_subcommand_from help" -a connecting
complete -c rtmsd -n "__fish_seen_subcommand_from help" -a media
complete -c rtmsd -n "__fish_seen_subcommand_from help" -a delivery
complete -c rtmsd -n "__fish_seen_subcommand_from help" -a pages
complete -c rtmsd -n "__fish_seen_subcommand_from help" -a recipes
complete -c rtmsd -n "__fish_seen_subcommand_from help" -a troubleshooting
complete -c rtmsd -n "__fish_seen_subcommand_from help" -a privacy
complete -c rtmsd -n "__fish_seen_subcommand_from help" -a embedding
complete -c rtmsd -n "__fish_seen_subcommand_from help" -a tuning
complete -c rtmsd -n "__fish_seen_subcommand_from help" -a upgrading
complete -c rtmsd -n "__fish_seen_subcommand_from help" -a security
complete -c rtmsd -n "__fish_seen_subcommand_from help" -a contributing

# film.sh, to be sourced: what players do with a film, compared with the original. ADDRESS is whatever ffmpeg opens: a path or a URL.
# shellcheck shell=bash

film_facts() { ffprobe -v error -show_streams -show_entries format=duration,size,bit_rate "$1"; }
film_probe() { # ADDRESS LOCAL: streams, length, size and bit rate
    local there here
    there=$(film_facts "$1") here=$(film_facts "$2")
    [[ -n $here && $there == "$here" ]] || { diff <(echo "$here") <(echo "$there"); return 1; }
}
film_frames() { ffmpeg -nostdin -v error -ss "$2" -i "$1" -map 0:v -frames:v 5 -f framemd5 - | grep -v '^#'; } # ADDRESS SECONDS
film_seeks() { # ADDRESS LOCAL: frames after a seek, forwards and backwards, are those of the original
    local at there here
    for at in 25 3 14.5; do
        there=$(film_frames "$1" "$at") here=$(film_frames "$2" "$at")
        [[ $(wc -l <<<"$here") == 5 && $there == "$here" ]] || { echo "at $at s: $there, not $here"; return 1; }
    done
}

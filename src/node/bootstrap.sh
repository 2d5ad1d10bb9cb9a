# Starts converge's agent on a host, and fetches it over standard input where it is not there
# yet. For any POSIX sh (dash, busybox, bash). It says `\001CONVERGE-WORD text\002`:
#   NEED system        send the agent for it now, all its bytes and nothing after them
#   TRIED path: why    this place does not do
#   NOWHERE            and none does
#   NO-AGENT system, NO-BECOME program, NO-TOOL program
# Arguments: this script, sudo or doas or nothing, the user to become, the agents there are
# (system:sha256:bytes ...), the prompt for sudo's password or nothing, the caller's LC_ALL.
script=$1 become=$2 account=$3 agents=$4 prompt=$5 locale=${6-${LC_ALL-}}
PATH=${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
umask 077
cd /

say() { printf '\001CONVERGE-%s\002\n' "$*"; }

if [ -n "$become" ]; then
    command -v "$become" >/dev/null 2>&1 || { say NO-BECOME "$become"; exit 1; }
    set -- /bin/sh -c 'eval "$(printf %b "$1")"' converge "$script" "" "$account" "$agents" "" "$locale"
    if [ "$become" = doas ]; then exec doas -n -u "$account" -- "$@"; fi
    if [ -n "$prompt" ]; then exec sudo -S -p "$prompt" -H -u "$account" -- "$@"; fi
    exec sudo -n -H -u "$account" -- "$@"
fi

id=$(id -u)
system=$(uname -sm)
system=${system% *}-${system#* }
sum=
for agent in $agents; do
    case $agent in "$system":*) size=${agent##*:} sum=${agent#*:} sum=${sum%:*} ;; esac
done
[ -n "$sum" ] || { say NO-AGENT "$system"; exit 1; }
for tool in sha256sum head cat ls mkdir mv chmod rm rmdir; do
    command -v $tool >/dev/null 2>&1 || { say NO-TOOL $tool; exit 1; }
done

# Ours alone: else anybody could put a program there for us to run.
ours() {
    [ ! -L "$2" ] || { why="it is a symbolic link"; return 1; }
    entry=$(ls -ldn "$2" 2>&1) || { why=${entry##*: }; return 1; }
    case $entry in
        "$1"*) ;;
        -*|d*) why="others may use it (${entry%% *}), or it is of another kind"; return 1 ;;
        *) why="it is of another kind (${entry%% *})"; return 1 ;;
    esac
    set -- $entry
    [ "$3" = "$id" ] || { why="it belongs to uid $3, not to us"; return 1; }
}

whole() {
    ours -rwx------ "$1" || return 1
    found=$(sha256sum <"$1")
    [ "${found%% *}" = "$sum" ] || { why="its sha256 is not that of the agent"; return 1; }
}

runs() {
    said=$("$1" --probe 2>&1) && return 0
    case $said in
        *"ermission denied") why="programs cannot be run there (Permission denied: the file system is mounted noexec, or a security policy forbids it)" ;;
        *) why="the agent cannot be run there: ${said##*: }" ;;
    esac
    return 1
}

start() {
    trap - EXIT HUP INT TERM
    if [ -n "$locale" ]; then LC_ALL=$locale; else unset LC_ALL; fi
    exec "$1"
}

fetch() {
    for old in "$1"/.new.* "$1"/converge-agent-*; do
        case $old in
            */converge-agent-*) rm -f "$old" ;;
            *) kill -0 "${old##*.}" 2>/dev/null || rm -f "$old" ;;
        esac
    done
    new=$1/.new.$$
    rm -f "$new"
    say NEED "$system"
    # What cannot be written is read all the same: the next place begins with a clean stream.
    said=$({ head -c "$size" | { cat >"$new" || cat >/dev/null; }; } 2>&1)
    [ -z "$said" ] || { why=${said##*: }; return 1; }
    found=$(sha256sum <"$new")
    [ "${found%% *}" = "$sum" ] || { why="the agent did not arrive whole"; return 1; }
    said=$({ chmod 700 "$new" && mv -f "$new" "$2"; } 2>&1) || { why=${said##*: }; return 1; }
    runs "$2" || { rm -f "$2"; return 1; }
}

cache=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}
case $cache in /*) ;; *) cache=/nonexistent/.cache ;; esac
if [ "$id" = 0 ]; then
    set -- /var/lib/converge "$cache/converge" /var/tmp/converge-0
else
    set -- "$cache/converge" "/var/tmp/converge-$id"
fi

for place in "$@"; do
    file=$place/converge-agent-$sum
    if [ -f "$file" ] && ours drwx------ "$place" && whole "$file" && runs "$file"; then start "$file"; fi
done

new=
trap 'rm -f "$new"' EXIT
trap 'exit 1' HUP INT TERM
for place in "$@"; do
    made=
    if [ ! -d "$place" ] && [ ! -L "$place" ]; then
        said=$(mkdir -p "$place" 2>&1) || { say TRIED "$place: ${said##*: }"; continue; }
        made=yes
    fi
    # Made by us with another umask, or by an older release.
    [ -L "$place" ] || chmod 700 "$place" 2>/dev/null
    file=$place/converge-agent-$sum
    if ours drwx------ "$place" && fetch "$place" "$file"; then start "$file"; fi
    say TRIED "$place: $why"
    rm -f "$new"
    [ -z "$made" ] || rmdir "$place" 2>/dev/null
done
say NOWHERE
exit 1

# The cart, release 1.0: says that it is well and serves until it is told to stop.
trap 'exit 0' TERM INT
echo "ok 1.0, $CART_GREETING" >serving
while :; do sleep 1 & wait $!; done
